"""The tables of README and docs: made from the results, and up to date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy.accuracy_tables import SHORT, accuracy, fine_tuned
from benchmarks.document import MARKED, NOT_YET, RESULTS, TABLES, documents, rewritten
from benchmarks.harness.processes import PROJECT
from benchmarks.serving.serve_tables import serve
from splitnet.errors import ConfigError

POINT = {"codec": "rans", "width": 4, "quality": 3, "ap": 20.04, "ap50": 33.35}
POINT |= {"bytes_mean": 2540.0, "bytes_p90": 3056.0, "encode_ms_p50": 12.06, "mmacs": 140.6}
IMAGE = {**POINT, "codec": "webp", "width": 0, "quality": 7, "mmacs": 0.0}
RESULT = {"unsplit": {"ap": 28.71, "ap50": 43.4}, "points": [POINT, IMAGE]}


UNDER_LOAD = {"server": "batching", "load": 2.0, "goodput_per_s": 46.5, "share_of_bare": 0.93, "shed": 400}
UNDER_LOAD |= {"share_of_bare_min": 0.9, "share_of_bare_max": 0.96, "jain": 0.9876}
UNDER_LOAD |= {"expired": 5, "late": 1, "latency_ms_p50": 210.0, "latency_ms_p99": 480.0, "batch_size_mean": 7.9}
OFF = {**UNDER_LOAD, "server": "batching off", "goodput_per_s": 40.2, "share_of_bare": 0.81}
OFF |= {"latency_ms_p50": None, "latency_ms_p99": None, "batch_size_mean": None}
SERVE = {
    "loads": [UNDER_LOAD, OFF],
    "sessions": [{"sessions": 200, "sent_per_s": 50.0, "in_time": 0.995, "jain": 0.9991}],
    "sessions_cores": 2,
    "flooding": [{"devices": 10, "in_time": 0.999}, {"devices": 1, "in_time": 0.25}],
    "overhead": [
        {"cores": "as they are", "load": 0.5, "overhead_ms_p50": 2.34, "ack_ms_p50": 1.6},
        {"cores": "kept awake", "load": 0.5, "overhead_ms_p50": 1.62, "ack_ms_p50": 1.14},
    ],
    "switch": [{"sent": 100, "not_in_time": 0}, {"sent": 200, "not_in_time": 2}],
    "switch_errors": 0,
    "switch_s": 3.21,
    "server_cores": 1,
    "bare_frames_per_s": 50.0,
    "one_call_at_a_time_frames_per_s": 35.0,
    "peak_share_of_bare": 0.93,
    "share_of_peak_at_highest_load": 1.0,
}


def exists(file: str) -> bool:
    return (PROJECT / RESULTS / file).exists()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "accuracy.json").write_text(json.dumps(RESULT))
    return tmp_path


def test_a_point_is_a_row_with_units_a_reader_knows():
    rows = accuracy(RESULT).splitlines()[2:]
    assert rows == [
        "| w4 q3 | 2.54 (3.06) | 20.0 | 33.4 | 12.1 | 141 |",
        "| WebP 7 | 2.54 (3.06) | 20.0 | 33.4 | 12.1 | 0 |",
    ]


def test_only_the_points_that_are_named_are_shown():
    assert accuracy(RESULT, ["w4 q3"]).count("\n") == 3
    assert "w4 q3" in SHORT


def test_what_lies_between_the_markers_is_replaced_and_nothing_else(results):
    text = "before\n<!-- begin unsplit -->\nold\n<!-- end unsplit -->\nafter\n"
    new = rewritten(text, results)
    assert new == (
        "before\n<!-- begin unsplit -->\nUnsplit, uncompressed: AP 28.7, AP50 43.4.\n<!-- end unsplit -->\nafter\n"
    )
    assert rewritten(new, results) == new


def test_a_marker_without_a_table_is_named(results):
    with pytest.raises(ConfigError, match="no table is called 'tides'"):
        rewritten("<!-- begin tides -->\n<!-- end tides -->", results)


def test_a_result_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "codec.json").write_text("{")
    with pytest.raises(ConfigError, match=r"codec\.json cannot be read"):
        rewritten("<!-- begin codec -->\n<!-- end codec -->", tmp_path)


def test_a_result_may_be_missing(tmp_path):
    text = "<!-- begin serve -->\n<!-- end serve -->"
    assert rewritten(text, tmp_path) == f"<!-- begin serve -->\n{NOT_YET}<!-- end serve -->"


def test_a_training_is_shown_with_what_it_began_with():
    result = {"step": 500, "ap": 57.96, "evaluations": [{"step": 0, "ap": 52.21, "ap50": 70.34}]}
    assert fine_tuned(result) == (
        "Fine-tuned, uncompressed images: AP 58.0 (after 500 steps); the weights it began with: 52.2, AP50 70.3.\n"
    )


def test_a_server_under_load_is_shown_against_the_bare_model():
    lines = serve(SERVE).splitlines()
    assert lines[2] == "| batching | 2 | 46.5 | 93% (90%-96%) | 0.988 | 210 / 480 | 405 | 1 | 7.9 |"
    assert lines[3] == "| batching off | 2 | 40.2 | 81% (90%-96%) | 0.988 | - / - | 405 | 1 | - |"
    assert "| the bare batched model, on as many cores (1) | 50.0 frames/s |" in lines
    assert "| 200 sessions on 2 cores shared with the devices | 0.25 frames/s each, 99.5% in time, " in "\n".join(lines)
    assert (
        "| a frame's time beside waiting, decoding and computing, at load 0.5, median "
        "| 2.3 ms, 1.6 of them the stream's own round trip; "
        "on cores that never halt 1.6 ms, 1.1 of them the stream's own round trip |" in lines
    )
    assert (
        "| a bundle replaced under load | 0 errors, 2 of 300 frames not in time, new one ready after 3.2 s |" in lines
    )


def test_every_table_can_be_made_from_the_committed_results():
    measured = [(file, make) for file, make in TABLES.values() if exists(file)]
    for file, make in measured:
        made = make(json.loads((PROJECT / RESULTS / file).read_text()))
        assert made.endswith("\n")
        is_missing = "not measured yet" in made.lower()  # a part of a measurement, whose others are there
        assert is_missing or "<picture>" in made or any(character.isdigit() for character in made)


def test_the_documents_are_up_to_date(capsys):
    assert main(["document", "--check"]) == 0, capsys.readouterr().err


def test_every_table_stands_in_a_document():
    shown = {match[2] for page in documents() for match in MARKED.finditer(page.read_text())}
    assert shown == set(TABLES)
