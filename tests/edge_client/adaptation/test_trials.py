"""Trials: what looked bad is looked at again, ever more rarely while it stays bad."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.adaptation.simulation import Device, Outcome, World, simulate
from benchmarks.harness.traces import steps
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import LINK_TRIAL, WORK_TRIAL, ControlSettings
from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.policy import FrameContext
from edge_client.adaptation.trials import LINK_PAUSE_S, LONGEST, WORK_PAUSE_S, Trials
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import LOCAL
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL, TABLE

CHEAP_IMAGE = replace(PICTURE, ap=18.0, bytes_p50=2000.0, bytes_p90=2500.0, encode_ms=0.5)
WITH_LOCAL = ControlSettings(200.0, has_local=True)
QUICK_LOCAL = replace(TABLE, local_ap=22.0, local_ms=50.0)  # in time, and worth less than LARGE and PICTURE


class Sizes:
    """Frames as large as the table says."""

    def payload_bytes(self, position, point):
        return int({row.point: row for row in TABLE.rows}[point].bytes_p50)

    def layer_bytes(self, position, point):
        return (self.payload_bytes(position, point),)


def encode_ms(point):
    return {row.point: row.encode_ms for row in TABLE.rows}[point]


def test_the_pause_begins_with_the_first_question():
    trials = Trials(4.0)
    assert [now for now in (10.0, 13.9, 14.0) if trials.is_due(now)] == [14.0]


def test_a_trial_that_fails_doubles_the_pause_and_one_in_time_ends_that():
    trials = Trials(1.0)

    def pause_s() -> float:
        trials.begun(0.0)
        return next(second for second in range(100) if trials.is_due(float(second + 1))) + 1.0

    seen = []
    for in_time in (False, False, False, False, False, False, True, False):
        seen.append(pause_s())
        trials.ended(in_time)
    assert seen == [1.0, 2.0, 4.0, 8.0, LONGEST, LONGEST, LONGEST, 1.0]


def test_a_clock_that_jumps_back_ends_the_pause():
    trials = Trials(1.0)
    trials.begun(1000.0)
    assert not trials.is_due(1000.5)
    assert trials.is_due(3.0)


def test_a_link_that_was_slow_once_is_used_again_soon_after_it_is_fast():
    trace = steps([8.0, 0.3, 8.0], 10.0)
    world = World(trace, Sizes(), Device(encode_ms, 50.0, 1.0), 200.0, 30.0)
    logs = simulate(world, AdaptivePolicy(QUICK_LOCAL, WITH_LOCAL))
    slow = [log for log in logs if 11.0 <= log.capture_time < 20.0]
    assert sum(log.point == LOCAL for log in slow) > 0.9 * len(slow)
    tried = [log for log in slow if log.decision is not None and log.decision.reason == LINK_TRIAL]
    assert 1 <= len(tried) <= 8
    back = next(log.capture_time for log in logs if log.capture_time >= 20.0 and log.point == PICTURE.point)
    assert back <= 20.0 + 8 * LINK_PAUSE_S
    later = [log for log in logs if log.capture_time >= back + 1.0]
    assert {log.point for log in later} == {PICTURE.point}
    assert all(log.outcome is Outcome.MET for log in later)


def answer_slowly(policy: AdaptivePolicy, server_ms: float, frames: int) -> None:
    """Let the server take so long for every frame that is sent."""
    for frame_id in range(1, frames + 1):
        now = frame_id - 100.0
        point = policy.choose(now, FrameContext(frame_id, now, 200.0, 1)).point
        if point.is_sent:
            policy.encoded(now, frame_id, point, encode_ms(point), 1000)
            policy.sent(now, frame_id, 1000)
            policy.acked(now + 0.03, Ack(frame_id, 1000, round(1e6 * (now + 1000)), 1))
            policy.answered(now + server_ms / 1000, frame_id, ServerTiming(0.0, 0.0, server_ms))


def test_a_server_that_was_slow_while_it_started_is_asked_again():
    policy = AdaptivePolicy(QUICK_LOCAL, WITH_LOCAL)
    answer_slowly(policy, 900.0, 12)
    assert policy.choose(-87.0, FrameContext(13, -87.0, 200.0, 1)).point == LOCAL
    world = World(steps([8.0], 40.0), Sizes(), Device(encode_ms, 50.0, 1.0), 200.0, 40.0)
    logs = simulate(world, policy)
    assert {log.point for log in logs[-100:]} == {PICTURE.point}


def loaded(policy: AdaptivePolicy, frames: range, factors: dict[str, float]) -> list:
    """Take frames to their answers, ten a second, where each kind of work is so many times slower than nominal."""
    rows = {row.point: row for row in (SMALL, MIDDLE, LARGE, CHEAP_IMAGE)}
    decisions = []
    for frame_id in frames:
        now = frame_id / 10
        decision = policy.choose(now, FrameContext(frame_id, now, 200.0, 1))
        decisions.append(decision)
        row = rows[decision.point]
        sent = now + row.encode_ms * factors.get(row.kind, 1.0) / 1000
        policy.encoded(sent, frame_id, row.point, 1000 * (sent - now), int(row.bytes_p50))
        policy.sent(sent, frame_id, int(row.bytes_p50))
        acked = sent + 8 * (row.bytes_p50 + 100) / 8e6 + 0.03
        policy.acked(acked, Ack(frame_id, int(row.bytes_p50), round(1e6 * acked), 1))
        policy.answered(acked + 0.01, frame_id, ServerTiming(0.0, 2.0, 8.0))
    return decisions


def test_a_tiny_work_that_waits_for_the_scheduler_does_not_rule_out_all_other_work():
    """An image codec of half a millisecond that takes ten does not make a width of 80 ms take 1,600."""
    table = PointTable((SMALL, MIDDLE, LARGE, CHEAP_IMAGE))
    policy = AdaptivePolicy(table, ControlSettings(200.0))
    for i in range(30):
        policy.encoded(i / 10, i, CHEAP_IMAGE.point, 10.0, 2000)
    decisions = loaded(policy, range(100, 200), {"jpeg": 20.0})
    assert {decision.point for decision in decisions[-20:]} == {LARGE.point}


def test_a_width_that_was_slow_under_load_is_tried_again_when_only_images_are_in_use():
    table = PointTable((SMALL, MIDDLE, LARGE, CHEAP_IMAGE))
    policy = AdaptivePolicy(table, ControlSettings(200.0))
    for i in range(40):  # a load that ends before anything else is measured
        policy.encoded(i / 10, i, LARGE.point, 20 * LARGE.encode_ms, 4900)
    decisions = loaded(policy, range(100, 250), {})
    assert decisions[5].point == CHEAP_IMAGE.point
    tried = next(i for i, decision in enumerate(decisions) if decision.reason == WORK_TRIAL)
    assert tried <= 10 * WORK_PAUSE_S + 10
    assert {decision.point for decision in decisions[tried + 1 :]} == {LARGE.point}


def test_work_that_is_still_slow_is_tried_ever_more_rarely():
    table = PointTable((SMALL, MIDDLE, LARGE, CHEAP_IMAGE))
    policy = AdaptivePolicy(table, ControlSettings(200.0))
    for i in range(40):
        policy.encoded(i / 10, i, LARGE.point, 20 * LARGE.encode_ms, 4900)
    slow = dict.fromkeys(("w1", "w2", "w4"), 20.0)
    decisions = loaded(policy, range(100, 1100), slow)
    tried = [i for i, decision in enumerate(decisions) if decision.reason == WORK_TRIAL]
    assert len(tried) == pytest.approx(4, abs=1)
    pauses = [b - a for a, b in pairwise(tried)]
    assert all(b > 1.5 * a for a, b in pairwise(pauses))
