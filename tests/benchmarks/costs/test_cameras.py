"""What a trace of several cameras says of their turns at the encoder, from records made by hand."""

from __future__ import annotations

import pytest

from benchmarks.costs.cameras import WARM_UP_S, Encode, encodes_of, figures, waited_for
from splitnet.errors import ConfigError


def record(camera: str, captured_ms: float, wait_ms: float, encode_ms: float, outcome: str = "answered") -> dict:
    actual = {"wait_ms": wait_ms, "encode_ms": encode_ms}
    return {"camera": camera, "time_s": WARM_UP_S + captured_ms / 1000, "actual": actual, "outcome": outcome}


def test_frames_are_in_the_order_of_their_encoding_and_those_that_were_dropped_are_none():
    dropped = {"camera": "a", "time_s": 1.0, "actual": None, "outcome": "dropped"}
    late, early = (record(camera, at, wait, 4.0) for camera, at, wait in (("a", 0.0, 9.0), ("b", 2.0, 1.0)))
    found = encodes_of([dropped, late, early])
    assert [(one.camera, one.began - found[0].began) for one in found] == [("b", 0.0), ("a", pytest.approx(6.0))]


def test_what_was_left_of_another_cameras_frame_counts_as_waiting():
    encodes = [Encode("a", 0.0, 0.0, 5.0), Encode("b", 3.0, 5.0, 9.0), Encode("c", 4.0, 9.0, 12.0)]
    assert waited_for(encodes) == [(0.0, 0), (2.0, 1), (5.0, 1)]


def test_a_cameras_own_frames_are_no_wait_for_others():
    assert waited_for([Encode("a", 0.0, 0.0, 5.0), Encode("a", 1.0, 5.0, 9.0)]) == [(0.0, 0), (0.0, 0)]


def test_two_frames_of_one_other_camera_are_counted():
    encodes = [Encode("a", 0.0, 0.0, 4.0), Encode("a", 2.0, 4.0, 8.0), Encode("b", 1.0, 8.0, 9.0)]
    assert waited_for(encodes)[2] == (7.0, 2)


def test_a_trace_is_summed_up_without_its_warm_up():
    warm_up = record("a", -1000.0, 50.0, 50.0)
    found = figures(
        [warm_up, record("a", 0.0, 0.0, 4.0), record("b", 1.0, 3.0, 6.0, "late"), record("b", 90.0, 0.0, 6.0)]
    )
    assert (found["frames"], found["answered"], found["most_encodes_of_one_other"]) == (3, 3, 1)
    assert (found["encode_ms_p50"], found["waits_for_others_ms_max"]) == (6.0, 3.0)


def test_a_trace_without_a_frame_is_refused():
    with pytest.raises(ConfigError, match="no frame was encoded"):
        figures([])
