"""The line of each captured frame."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_client.adaptation.load import CpuSample
from edge_client.adaptation.policy import LatencyBreakdown, PolicyState
from edge_client.frames import Fate, FrameOutcome
from edge_client.output.trace import TraceFile, trace_record
from splitnet.errors import ConfigError
from splitnet.operating_point import SKIP, Codec, OperatingPoint
from tests.support.client_samples import captured_frame, chosen_frame, result

POLICY_STATE = PolicyState(2_000_000.0, 1_500_000.0, False, 12.5, 1500, overusing=True, load_factor=1.25)


def test_an_answered_frame_says_everything():
    chosen = replace(
        chosen_frame(7, predicted=LatencyBreakdown(2.0, 5.0, 6.0, 12.5, 15.0), policy_state=POLICY_STATE),
        cpu=CpuSample(0.75, 0.5),
    )
    answered = result(7, end_to_end_ms=48.0)
    fate = Fate(FrameOutcome.ANSWERED, chosen.frame, chosen, answered.encoded, answered)
    assert trace_record(fate, started=0.2, deadline_ms=200.0) == {
        "frame_id": 7,
        "time_s": 0.5,
        "position": 6,
        "point": "w4 q2",
        "mode": "split",
        "reason": "test",
        "deadline_ms": 200.0,
        "bytes": 1500,
        "builds_on": None,
        "outcome": "answered",
        "total_ms": 48.0,
        "predicted": {
            "wait_ms": 2.0,
            "encode_ms": 5.0,
            "transmit_ms": 6.0,
            "propagate_ms": 12.5,
            "server_ms": 15.0,
        },
        "actual": {
            "wait_ms": 2.0,
            "encode_ms": 5.5,
            "transmit_ms": 14.75,
            "propagate_ms": 12.5,
            "server_ms": 13.25,
        },
        "link": {
            "capacity_bps": 2_000_000.0,
            "capacity_low_bps": 1_500_000.0,
            "capacity_is_bound": False,
            "rtt_min_ms": 12.5,
            "in_flight_bytes": 1500,
            "overusing": True,
        },
        "cpu": {"busy": 0.75, "own": 0.5},
        "load_factor": 1.25,
    }


def test_a_frame_that_was_overtaken_has_little_to_say():
    record = trace_record(Fate(FrameOutcome.OVERTAKEN, captured_frame(1)), 0.0, 0.0)
    assert record == {
        "frame_id": 1,
        "time_s": 0.1,
        "position": 0,
        "deadline_ms": 0.0,
        "outcome": "overtaken",
        "bytes": 0,
        "builds_on": None,
        "total_ms": None,
        "actual": None,
    }


def test_a_skipped_frame_says_why():
    chosen = chosen_frame(2, SKIP)
    record = trace_record(Fate(FrameOutcome.SKIPPED, chosen.frame, chosen), 0.0, 200.0)
    assert (record["point"], record["mode"], record["reason"]) == ("skip", "skip", "test")
    assert record["predicted"] is None
    assert record["cpu"] is None
    assert record["link"]["capacity_bps"] is None


def test_lines_are_written_at_once(tmp_path):
    path = tmp_path / "run.jsonl"
    trace = TraceFile(path, 200.0, started=0.0)
    trace.write(Fate(FrameOutcome.OVERTAKEN, captured_frame(1)))
    assert json.loads(path.read_text())["deadline_ms"] == 200.0
    trace.close()


def test_a_file_that_cannot_be_written_is_said_in_one_line():
    with pytest.raises(ConfigError, match="choose another --trace-out"):
        TraceFile(Path("/nowhere/run.jsonl"), 200.0, started=0.0)


def test_a_frame_that_was_made_coarser_names_both_points():
    chosen, answered = chosen_frame(3), result(3, end_to_end_ms=48.0)
    assert "sent" not in trace_record(
        Fate(FrameOutcome.ANSWERED, chosen.frame, chosen, answered.encoded, answered), 0.0, 0.0
    )
    coarser = replace(answered.encoded, point=OperatingPoint(Codec.RANS, 4, 0))
    record = trace_record(Fate(FrameOutcome.LOST, chosen.frame, chosen, coarser), 0.0, 0.0)
    assert (record["point"], record["sent"]) == ("w4 q2", "w4 q0")
