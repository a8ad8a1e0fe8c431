"""Traces of runs, read back: whole ones, cut ones, and files that are none."""

from __future__ import annotations

import json

import pytest

from benchmarks.harness.run_trace import FrameRecord, lane, lanes, parse_run, read_run
from splitnet.errors import ConfigError

LINE = {
    "frame_id": 3,
    "time_s": 0.2,
    "position": 2,
    "deadline_ms": 200.0,
    "outcome": "answered",
    "bytes": 2500,
    "total_ms": 120.5,
    "actual": {"wait_ms": 1.0},
    "point": "w4 q2",
    "mode": "split",
    "reason": "best",
    "predicted": {"wait_ms": 1.0, "encode_ms": 20.0, "transmit_ms": 30.0, "propagate_ms": 40.0, "server_ms": 20.0},
    "link": {
        "capacity_bps": 1e6,
        "capacity_low_bps": 8e5,
        "rtt_min_ms": 40.0,
        "in_flight_bytes": 0,
        "overusing": True,
    },
    "cpu": {"busy": 0.5, "own": 0.25},
    "load_factor": 1.25,
}
OVERTAKEN = {"frame_id": 2, "time_s": 0.1, "position": 1, "deadline_ms": 200.0, "outcome": "overtaken", "bytes": 0}


def record(point: str | None = "w4 q2", outcome: str = "answered", **fields: object) -> FrameRecord:
    return FrameRecord(0.0, 0, outcome, 200.0, point=point, **fields)


def test_a_line_holds_all_that_is_drawn():
    (found,) = parse_run([json.dumps(LINE)])
    assert found == FrameRecord(
        time_s=0.2,
        position=2,
        outcome="answered",
        deadline_ms=200.0,
        payload_bytes=2500,
        total_ms=120.5,
        point="w4 q2",
        mode="split",
        predicted_ms=111.0,
        capacity_bps=1e6,
        capacity_low_bps=8e5,
        overusing=True,
        cpu_busy=0.5,
        cpu_own=0.25,
        load_factor=1.25,
    )


def test_of_a_frame_that_was_overtaken_there_is_little_to_say():
    (found,) = parse_run([json.dumps(OVERTAKEN)])
    assert found == FrameRecord(0.1, 1, "overtaken", 200.0)
    assert not found.in_time


def test_frames_come_in_the_order_of_their_capture():
    assert [found.position for found in parse_run([json.dumps(LINE), json.dumps(OVERTAKEN)])] == [1, 2]


def test_only_detections_before_the_deadline_are_in_time():
    outcomes = ["answered", "local", "late", "skipped", "overtaken", "lost", "refused"]
    assert [record(outcome=outcome).in_time for outcome in outcomes] == [True, True, *[False] * 5]


def test_a_last_line_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps(LINE)[:40])
    assert len(read_run(path)) == 1


@pytest.mark.parametrize("text", ["no json\n", "[]\n", '{"time_s": 1}\n', "3\n", '{"frame_id": 1, "detections": []}\n'])
def test_what_is_no_trace_is_refused_in_a_line(tmp_path, text):
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not a trace of a run"):
        read_run(path)


def test_a_trace_that_is_not_there_or_empty_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_run(tmp_path / "run.jsonl")
    (tmp_path / "run.jsonl").touch()
    with pytest.raises(ConfigError, match="holds no frames"):
        read_run(tmp_path / "run.jsonl")


def test_lanes_go_from_nothing_to_an_image_with_all_widths_between():
    points = ["webp 20", None, "w3 q1", "local", "w1 q0 zstd", "jpeg 50", "skip"]
    assert lanes([record(point) for point in points]) == ["skip", "local", "w1", "w2", "w3", "jpeg", "webp"]
    assert [lane(record(point)) for point in points] == ["webp", None, "w3", "local", "w1", "jpeg", "skip"]
    assert lanes([record("jpeg 50")]) == ["jpeg"]
