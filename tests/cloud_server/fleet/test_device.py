"""One device: its rates add up, its state follows from what it says and sends, its history has ten minutes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_server.fleet.device import BUCKETS, Device, mode_of
from cloud_server.fleet.rows import details_of, row_of
from splitnet.device_status import DeviceDecision, DeviceLogLine, DeviceStatus, FrameCounts
from splitnet.messages import ServerTiming
from splitnet.operating_point import Codec, OperatingPoint

SPLIT = OperatingPoint(Codec.RANS, 4, 5)
STATUS = DeviceStatus("slimsplit 1", "Raspberry Pi 5", 10.0, point="w4 q5", deadline_ms=200)


def device() -> Device:
    one = Device("ab12", "camera-1", "ipv4:192.0.2.7")
    one.opened(100.0, "s1", "coco-nano", "ab" * 32)
    return one


def test_the_rates_of_a_device_add_up_to_those_of_its_camera():
    one = device()
    one.reported(100.0, STATUS)
    one.reported(102.0, replace(STATUS, run_s=12.0, frames=FrameCounts(31, 10, 6, 4, 8, 2)))
    rates = one.rates()
    assert rates == (15.0, 5.0, 3.0, 2.0, 4.0, 1.0)
    assert rates.camera == sum(rates[1:])
    assert row_of(one, 102.0)["in_time"] == pytest.approx(8 / 15, abs=1e-3)


def test_rates_are_of_the_devices_own_clock():
    """Two statuses that the link has delivered together are still a second apart."""
    one = device()
    one.reported(100.0, STATUS)
    one.reported(100.01, replace(STATUS, run_s=11.0, frames=FrameCounts(10, 10)))
    assert one.rates().answered == 10.0


def test_rates_are_of_the_last_five_seconds():
    one = device()
    for second in range(20):
        one.reported(100.0 + second, replace(STATUS, run_s=second, frames=FrameCounts(answered=second**2)))
    assert one.rates().answered == (19**2 - 14**2) / 5


def test_a_new_run_of_the_device_begins_its_rates_anew():
    one = device()
    one.reported(100.0, replace(STATUS, run_s=500.0, frames=FrameCounts(answered=5000)))
    one.reported(101.0, replace(STATUS, run_s=1.0, frames=FrameCounts(answered=3)))
    assert one.rates() == (0.0,) * 6
    one.reported(102.0, replace(STATUS, run_s=2.0, frames=FrameCounts(answered=7)))
    assert one.rates().answered == 4.0


def test_a_device_that_says_nothing_is_seen_by_its_frames():
    one = device()
    for second in range(4):
        one.tick(100.0 + second)
        for _ in range(5):
            one.frame(100.0 + second, SPLIT, 2000)
            one.answered(100.0 + second, ServerTiming(1.0, 2.0, 17.0))
    one.tick(104.0)
    row = row_of(one, 104.0)
    assert (row["answered_fps"], row["kb_per_frame"], row["kbps"], row["p50_ms"]) == (5.0, 2.0, 80.0, 20)
    assert (row["state"], row["point"], row["reports"]) == ("split", "w4 q5", False)


@pytest.mark.parametrize(
    ("point", "state"),
    [
        *(("w4 q5", "split"), ("w4 q5 zstd", "split"), ("jpeg 50", "image"), ("webp 30", "image")),
        *(("local", "local"), ("skip", "idle"), ("h264 3", "image"), ("holo 3", "holo")),
    ],
)
def test_the_state_follows_from_the_point(point, state):
    assert mode_of(point) == state
    one = device()
    one.reported(100.0, replace(STATUS, point=point))
    assert one.state(100.0) == state


def test_a_device_without_a_session_is_gone_and_one_without_frames_is_idle():
    one = device()
    assert one.state(100.0) == "idle"
    one.frame(101.0, SPLIT, 10)
    assert [one.state(110.0), one.state(112.0)] == ["split", "idle"]
    one.closed(112.0, "s1")
    assert one.state(112.0) == "gone"


def test_an_old_status_no_longer_speaks_for_the_device():
    one = device()
    one.reported(100.0, replace(STATUS, point="local"))
    one.frame(106.0, SPLIT, 10)
    assert one.state(106.0) == "split"
    assert row_of(one, 106.0)["deadline_ms"] is None


def test_the_history_has_ten_minutes_of_detections_wherever_they_were_made():
    one = device()
    for second in range(700):
        frames = FrameCounts(answered=2 * second, local=second, late=second)
        one.reported(100.0 + second, replace(STATUS, run_s=second, frames=frames))
        one.tick(100.0 + second)
    assert len(one.history) == BUCKETS
    assert set(one.history) == {4.0}


def test_the_last_error_is_the_servers_refusal_or_the_devices_own():
    one = device()
    one.refused(101.0, "the server is busy")
    assert row_of(one, 104.0)["last_error"] == "the server is busy"
    line = DeviceLogLine(1, "warning", "the camera is gone")
    one.reported(105.0, replace(STATUS, log=(line, DeviceLogLine(2, "info", "all is well"))))
    row = row_of(one, 107.0)
    assert (row["last_error"], row["error_s_ago"]) == ("the camera is gone", 2)


def test_decisions_and_log_are_kept_within_bounds():
    one = device()
    for number in range(300):
        decision = DeviceDecision(number, "w1 q0", "why", 10.0)
        one.reported(100.0 + number, replace(STATUS, run_s=number, decisions=(decision,), left_out=1))
    details = details_of(one, 400.0)
    assert [one["frame_id"] for one in details["decisions"]] == list(range(250, 300))
    assert details["left_out"] == 300


def test_a_device_that_is_gone_has_no_rates_and_one_that_falls_silent_those_that_the_server_sees():
    one = device()
    one.reported(100.0, STATUS)
    one.reported(102.0, replace(STATUS, run_s=12.0, frames=FrameCounts(20, 20)))
    for second in range(108, 112):
        one.tick(second)
        one.frame(second, SPLIT, 1000)
        one.answered(second, ServerTiming(1.0, 1.0, 1.0))
    one.tick(112)
    assert one.rates().answered == 1.0
    one.closed(112.0, "s1")
    assert one.rates() == (0.0,) * 6
