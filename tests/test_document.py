"""The tables of README and docs: made from the results, and up to date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.document import DOCUMENTS, MARKED, RESULTS, SHORT, TABLES, accuracy, rewritten
from benchmarks.processes import PROJECT
from splitnet.errors import ConfigError

POINT = {"codec": "rans", "width": 4, "quality": 3, "ap": 20.04, "ap50": 33.35}
POINT |= {"bytes_mean": 2540.0, "bytes_p90": 3056.0, "encode_ms_p50": 12.06, "mmacs": 140.6}
PICTURE = {**POINT, "codec": "webp", "width": 0, "quality": 7, "mmacs": 0.0}
RESULT = {"unsplit": {"ap": 28.71, "ap50": 43.4}, "points": [POINT, PICTURE]}


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


def test_a_result_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"codec\.json cannot be read"):
        rewritten("<!-- begin codec -->\n<!-- end codec -->", tmp_path)


def test_every_table_can_be_made_from_the_committed_results():
    for file, make in TABLES.values():
        assert "|" in make(json.loads((PROJECT / RESULTS / file).read_text())) or file == "accuracy.json"


def test_the_documents_are_up_to_date(capsys):
    assert main(["document", "--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_document_shows_results(path):
    assert MARKED.search((PROJECT / path).read_text())
