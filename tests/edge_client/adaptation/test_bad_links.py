"""Links, clocks and servers that behave badly: the controller stays of use, and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from benchmarks.adaptation.simulation import Device, FrameLog, Luck, Outcome, World, simulate
from benchmarks.harness.traces import Trace, steps
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import UNATTAINABLE, ControlSettings
from edge_client.adaptation.policy import FixedPolicy, FrameContext
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import LOCAL, OperatingPoint
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL, TABLE

ROWS = {row.point: row for row in TABLE.rows}
DEVICE = Device(lambda point: ROWS[point].encode_ms, 400.0, 1.0)
QUICK_DEVICE = replace(DEVICE, local_ms=60.0)
_TIMING = ServerTiming(0.0, 2.0, 8.0)
WITH_LOCAL = replace(TABLE, local_ap=18.0, local_ms=60.0)
SECONDS = 30.0


class Frames:
    """Frames whose sizes lie about the table's."""

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        return int(ROWS[point].bytes_p50 * (0.8 + 0.1 * (position % 5)))

    def layer_bytes(self, position: int, point: OperatingPoint) -> tuple[int, ...]:
        return (self.payload_bytes(position, point),)


def world(trace: Trace, deadline_ms: float = 200.0, device: Device = DEVICE, **other: float) -> World:
    return World(trace, Frames(), device, deadline_ms, SECONDS, **other)


def worth(logs: Sequence[FrameLog], local_ap: float = 18.0) -> float:
    """Return the mean accuracy of all frames; that of a late one is 0."""
    aps = {LOCAL: local_ap, **{point: row.ap for point, row in ROWS.items()}}
    return sum(aps[log.point] for log in logs if log.outcome is Outcome.MET and log.point) / len(logs)


def met_share(logs: Sequence[FrameLog]) -> float:
    return sum(log.outcome is Outcome.MET for log in logs) / len(logs)


def adapted(one: World, table=TABLE, has_local: bool = False) -> list[FrameLog]:
    return simulate(one, AdaptivePolicy(table, ControlSettings(one.deadline_ms, has_local=has_local)))


@pytest.mark.parametrize(("fast", "slow"), [(8.0, 0.2), (8.0, 0.02), (1.0, 0.1)])
def test_on_a_link_that_alternates_every_200_ms_it_keeps_two_thirds_of_what_the_best_fixed_point_gives(fast, slow):
    """That point is known only afterwards. No estimate is worth anything here: a figure is old when it comes."""
    one = world(steps([fast, slow] * round(SECONDS / 0.4), 0.2))
    best_fixed = max(worth(simulate(one, FixedPolicy(row.point))) for row in TABLE.rows)
    assert worth(adapted(one)) >= 2 / 3 * best_fixed


@pytest.mark.parametrize("jump_s", [1000.0, -1000.0, 0.7, -0.7])
def test_a_clock_of_the_server_that_jumps_every_three_seconds_changes_next_to_nothing(jump_s):
    class Jumping(AdaptivePolicy):
        def acked(self, now: float, ack: Ack) -> None:
            jumped_us = round(1e6 * jump_s * (now // 3))
            super().acked(now, replace(ack, server_receive_time_us=ack.server_receive_time_us + jumped_us))

    one = world(steps([2.0, 0.5] * 3, 5.0))
    logs = simulate(one, Jumping(TABLE, ControlSettings(one.deadline_ms)))
    usual = adapted(one)
    assert met_share(logs) == pytest.approx(met_share(usual), abs=0.02)
    assert worth(logs) == pytest.approx(worth(usual), rel=0.02)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_of_the_device_that_jumps_does_not_stop_the_choice(jump_s):
    policy = AdaptivePolicy(WITH_LOCAL, ControlSettings(200.0, has_local=True))
    for frame_id in range(1, 101):
        now = 5000.0 + frame_id / 10 + (jump_s if frame_id > 50 else 0.0)
        point = policy.choose(now, FrameContext(frame_id, now, 200.0, 1)).point
        if point.is_sent:
            size = int(ROWS[point].bytes_p50)
            policy.encoded(now + 0.01, frame_id, point, ROWS[point].encode_ms, size)
            policy.sent(now + 0.01, frame_id, size)
            policy.acked(now + 0.05, Ack(frame_id, size, round(1e6 * (now + 0.03)), 1))
            policy.answered(now + 0.06, frame_id, _TIMING)
    assert point == PICTURE.point


@dataclass(frozen=True)
class LateAcks(World):
    """Between seconds 10 and 20 all that comes back, in order, is late."""

    late_s: float = 0.06

    def luck(self) -> Luck:
        usual = super().luck()
        late = [jitter + self.late_s * (100 <= i < 200) for i, jitter in enumerate(usual.jitter_s)]
        return replace(usual, jitter_s=late)


def test_acks_that_come_late_but_in_order_do_not_make_the_link_look_slow():
    one = LateAcks(steps([4.0], SECONDS), Frames(), DEVICE, 300.0, SECONDS)
    logs = adapted(one)
    assert met_share(logs) >= 0.98
    assert {log.point for log in logs[150:200]} == {log.point for log in logs[50:100]} == {PICTURE.point}


def test_a_slow_server_behind_a_fast_link_gets_quick_frames_and_a_fast_one_behind_a_slow_link_small_ones():
    slow_server = adapted(world(steps([50.0], SECONDS), server_ms=90.0))
    assert met_share(slow_server) > 0.95
    assert {log.point for log in slow_server[50:]} == {PICTURE.point}  # the quickest to encode
    slow_link = adapted(world(steps([0.15], SECONDS), server_ms=2.0))
    assert met_share(slow_link) > 0.95
    assert {log.point for log in slow_link[50:]} == {SMALL.point}


def test_a_server_that_is_too_slow_for_the_deadline_leaves_the_frames_to_the_device():
    logs = adapted(world(steps([50.0], SECONDS), server_ms=400.0, device=QUICK_DEVICE), WITH_LOCAL, has_local=True)
    assert met_share(logs[50:]) > 0.9
    tried = [log for log in logs[50:] if log.point and log.point.is_sent]
    assert 1 <= len(tried) <= 8


@pytest.mark.parametrize("deadline_ms", [1.0, 20.0, 39.0])
def test_a_deadline_that_no_point_can_meet_is_said_and_the_quickest_is_sent(deadline_ms):
    logs = adapted(world(steps([8.0], SECONDS), deadline_ms=deadline_ms))
    sent = [log for log in logs[20:] if log.point and log.point.is_sent]
    assert len(sent) > 0.9 * len(logs[20:])
    assert {log.decision.reason for log in sent} == {UNATTAINABLE}
    assert MIDDLE.point not in {log.point for log in sent} and LARGE.point not in {log.point for log in sent}
