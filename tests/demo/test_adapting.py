"""The demo's second part: what the client is put through, and how it is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks.harness.report import table
from benchmarks.harness.run_trace import FrameRecord
from benchmarks.harness.traces import read_trace
from demo.adapting import adapting_command, phase_rows, start_s
from demo.answers import Answer
from demo.client import ClientFiles
from demo.ordeal import FREE_MBPS, Ordeal, Phase, ordeal_for
from demo.summary import as_text
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import Codec, Mode

ANSWER = Answer(0.0, "w4 q5", 6000, encode_ms=12.0, end_to_end_ms=85.0, compute_ms=80.0, names=())
POINT = MeasuredPoint(Mode.SPLIT, Codec.RANS, 4, 5, 16.0, 27.0, 6000.0, 7000.0, 12.0, 141.0)
JPEG = MeasuredPoint(Mode.IMAGE, Codec.JPEG, 0, 75, 27.0, 42.0, 24_000.0, 30_000.0, 1.0, 0.0)
MANIFEST = SimpleNamespace(points=(POINT, JPEG))
ORDEAL = Ordeal(170, (Phase("free", 5.0), Phase("link squeezed", 5.0, mbps=0.3), Phase("CPU loaded", 6.0, load=1.0)))
FRAME = FrameRecord(0.5, 0, "answered", 170.0, 6000, total_ms=100.0, point="w4 q5", mode="split")


def test_the_ordeal_fits_the_machine_and_the_bundle():
    slow = replace(ANSWER, end_to_end_ms=95.0)
    other = replace(ANSWER, point="w1 q0", end_to_end_ms=20.0)
    ordeal = ordeal_for(MANIFEST, [ANSWER, slow, other], "w4 q5")
    assert ordeal is not None
    assert ordeal.deadline_ms == 180  # twice the median, in tens
    squeezed = next(phase for phase in ordeal.phases if phase.mbps != FREE_MBPS)
    assert squeezed.mbps == pytest.approx(8 * 6000 / 180 / 1000, abs=0.001)
    assert [phase.load for phase in ordeal.phases] == [0, 0, 0, 1.0, 0]
    assert sum(phase.seconds for phase in ordeal.phases) < 30


def test_a_fast_machine_gets_a_deadline_that_a_scheduler_can_keep():
    ordeal = ordeal_for(MANIFEST, [replace(ANSWER, end_to_end_ms=8.0)], "w4 q5")
    assert ordeal is not None
    assert ordeal.deadline_ms == 100


def test_without_measurements_there_is_no_ordeal():
    assert ordeal_for(SimpleNamespace(points=()), [ANSWER], "w4 q5") is None
    assert ordeal_for(MANIFEST, [], "w4 q5") is None


def test_phases_follow_one_another():
    assert ORDEAL.ends_s == [5.0, 10.0, 16.0]
    assert [ORDEAL.phase_at(seconds) for seconds in (-0.1, 0.0, 4.9, 5.0, 15.9, 16.0)] == [None, 0, 0, 1, 2, None]


def test_the_link_is_written_down_as_a_trace(tmp_path):
    path = tmp_path / "adapting.link.csv"
    path.write_text(ORDEAL.link_csv(start_s=2.0))
    link = read_trace(path)
    assert link.duration_s == pytest.approx(18.0)
    assert link.capacity_bps(3.0, 6.0) == pytest.approx(FREE_MBPS * 1e6, rel=0.01)
    assert link.capacity_bps(8.0, 11.0) == pytest.approx(0.3e6, rel=0.01)


def test_the_client_is_told_what_a_user_would_type(tmp_path):
    command = adapting_command("127.0.0.1:1", "0", tmp_path, ORDEAL, ClientFiles.inside(tmp_path))
    assert command[:6] == ["edge_client", "run", "--server", "127.0.0.1:1", "--source", "0"]
    assert command[command.index("--deadline-ms") + 1] == "170"
    assert "--loop" in command


def test_each_phase_has_a_row_with_what_was_chosen_and_what_came_of_it():
    squeezed = replace(FRAME, time_s=6.0, point="w1 q0", payload_bytes=700, total_ms=60.0)
    records = [
        FRAME,
        replace(FRAME, time_s=0.7, total_ms=80.0),
        squeezed,
        replace(squeezed, time_s=6.1, point="w2 q0", payload_bytes=900, total_ms=70.0),
        replace(squeezed, time_s=6.2, payload_bytes=800, outcome="late", total_ms=180.0),
        replace(squeezed, time_s=6.3, outcome="overtaken", point=None, total_ms=None),
        replace(FRAME, time_s=99.0),
    ]
    assert start_s(records) == pytest.approx(0.6)  # the first frame was captured before anybody knew
    free, tight, loaded = phase_rows(records, ORDEAL)
    assert free == {
        "phase": "free",
        "link Mbps": FREE_MBPS,
        "mostly": "w4 q5",
        "widths": "4",
        "KB": 6.0,
        "end-to-end ms": 80,
        "in time %": 100,
    }
    assert (tight["mostly"], tight["widths"], tight["KB"], tight["in time %"]) == ("w1 q0", "1-2", 0.8, 50)
    assert (loaded["mostly"], loaded["KB"], loaded["in time %"]) == ("-", "-", "-")


def test_the_rows_are_told_beside_the_other_results(tmp_path):
    rows = phase_rows([FRAME, replace(FRAME, time_s=0.7)], ORDEAL)
    summary = {"frames": {}, "found": {}, "points": [], "adapting": {"deadline_ms": 170, "phases": rows}}
    text = as_text(summary, tmp_path)
    assert "deadline of 170 ms" in text
    assert table(rows) in text
