"""Step responses of the policy, in virtual time: link, processor, silence."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest

from benchmarks.adaptation.simulation import Device, FrameLog, Outcome, World, simulate
from benchmarks.harness.traces import steps, with_outages
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import WORK_TRIAL, ControlSettings
from edge_client.adaptation.point_table import PointCosts, PointTable
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from tests.support.control_samples import PICTURE, SPLIT_TABLE, TABLE

CHANGE_S = 10.0
IMAGE_ROWS = tuple(
    PointCosts(OperatingPoint(Codec.JPEG, 0, quality), ap, size, 1.4 * size, 10.0)
    for quality, ap, size in ((10, 19.5, 4700), (30, 25.8, 9000), (50, 27.0, 14_000), (75, 28.0, 24_900))
)
ROWS = {row.point: row for row in (*IMAGE_ROWS, *TABLE.rows)}
DEVICE = Device(lambda point: ROWS[point].encode_ms, local_ms=400.0, slowdown=1.0)
DEADLINES_MS = pytest.mark.parametrize("deadline_ms", [200.0, 300.0])


@dataclass(frozen=True)
class Pictures:
    """All of the same size. ratio: over that in the table."""

    ratio: float = 1.0

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        return int(self.ratio * ROWS[point].bytes_p50)


def after_change(world: World, policy: AdaptivePolicy) -> list[FrameLog]:
    """Return the frames captured from CHANGE_S on that were sent, or detected on the device."""
    return [log for log in simulate(world, policy) if log.capture_time >= CHANGE_S and log.total_ms is not None]


@DEADLINES_MS
def test_after_a_link_becomes_four_times_slower_no_more_than_three_frames_are_late(deadline_ms):
    world = World(steps([4.0, 1.0], CHANGE_S), Pictures(), DEVICE, deadline_ms, 2 * CHANGE_S)
    late = [log.outcome is Outcome.LATE for log in after_change(world, AdaptivePolicy(TABLE, ControlSettings()))]
    assert len(late) > 50
    assert sum(late) <= 3 and not any(late[3:])


@DEADLINES_MS
def test_two_seconds_after_a_link_becomes_richer_the_best_point_is_reached(deadline_ms):
    world = World(steps([0.5, 10.0], CHANGE_S), Pictures(), DEVICE, deadline_ms, 2 * CHANGE_S)
    logs = after_change(world, AdaptivePolicy(TABLE, ControlSettings()))
    assert {log.point for log in logs if log.capture_time >= CHANGE_S + 2} == {PICTURE.point}


@pytest.mark.parametrize("ratio", [0.14, 1.0, 2.0])
@pytest.mark.parametrize("table", [TABLE, SPLIT_TABLE, PointTable(IMAGE_ROWS)], ids=["auto", "split", "image"])
@pytest.mark.parametrize(("mbps", "rtt_ms"), [(1000.0, 0.3), (40.0, 30.0)])
def test_a_second_after_the_start_on_a_free_link_the_best_point_is_reached(table, ratio, mbps, rtt_ms):
    world = World(steps([mbps], 5.0), Pictures(ratio), DEVICE, 300.0, 5.0, rtt_ms=rtt_ms)
    logs = simulate(world, AdaptivePolicy(table, ControlSettings()))
    best = max(table.rows, key=lambda row: row.ap)
    assert {log.point for log in logs if log.capture_time >= 1.0 and log.point} == {best.point}


def test_the_width_follows_a_doubled_load_within_five_frames():
    loaded = replace(DEVICE, load=((0.0, 1.0), (CHANGE_S, 2.0)))
    world = World(steps([8.0], 2 * CHANGE_S), Pictures(), loaded, 200.0, 2 * CHANGE_S)
    logs = simulate(world, AdaptivePolicy(SPLIT_TABLE, ControlSettings()))
    before = {log.point.width for log in logs if CHANGE_S - 2 <= log.capture_time < CHANGE_S and log.point}
    tried = [log for log in logs if log.decision and log.decision.reason == WORK_TRIAL]
    usual = [log for log in logs if log.capture_time >= CHANGE_S and log.point and log not in tried]
    assert before == {4}
    assert max(log.point.width for log in usual[5:]) < 4
    assert len(tried) <= 2
    assert all(log.outcome is Outcome.MET for log in usual if log.capture_time >= CHANGE_S + 0.5)


def test_through_94_silent_seconds_the_device_detects_and_the_link_is_back_within_one():
    silence_s = 94.0
    end_s = CHANGE_S + silence_s
    trace = with_outages(steps([5.0], end_s + 20), [(CHANGE_S, silence_s)])
    policy = AdaptivePolicy(TABLE, ControlSettings(has_local=True))
    logs = simulate(World(trace, Pictures(), DEVICE, 600.0, end_s + 10), policy)
    silent = [log for log in logs if CHANGE_S + 1 <= log.capture_time < end_s - 1]
    detected = [log.capture_time for log in silent if log.point == LOCAL and log.outcome is Outcome.MET]
    pauses_s = [b - a for a, b in itertools.pairwise(detected)]
    assert max(pauses_s) <= (DEVICE.local_ms + 200) / 1000  # back to back, but for the next frame's capture
    assert not any(log.payload_bytes for log in silent)  # nothing piles up in front of a dead link
    back = [log for log in logs if log.capture_time >= end_s + 1]
    assert all(log.outcome is Outcome.MET for log in back)
    assert sum(log.point != LOCAL for log in back) > len(back) / 2
    assert policy.state(end_s + 11).in_flight_bytes == 0
