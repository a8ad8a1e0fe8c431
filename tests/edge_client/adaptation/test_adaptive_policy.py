"""The policy that adapts, fed as the pipeline feeds it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.load import CpuSample
from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.policy import FixedPolicy, FrameContext
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL, SPLIT_TABLE, TABLE

RTT_S = 0.03


def policy(table: PointTable = TABLE, **settings: object) -> AdaptivePolicy:
    return AdaptivePolicy(table, ControlSettings(**settings))


def context(frame_id: int, now: float, **other: object) -> FrameContext:
    return FrameContext(frame_id, now, deadline_ms=200.0, in_flight=1, **other)


def drive(
    adaptive: AdaptivePolicy, mbps: float, frames: int, first: int = 1, load: float = 1.0, server_ms: float = 10.0
) -> list[OperatingPoint]:
    """Take frames one after the other, ten a second, to their answers; returns their points."""
    rows = {row.point: row for row in (SMALL, MIDDLE, LARGE, PICTURE)}
    points = []
    for frame_id in range(first, first + frames):
        now = frame_id / 10
        point = adaptive.choose(now, context(frame_id, now)).point
        points.append(point)
        if not point.is_sent:
            continue
        size, encode_ms = int(rows[point].bytes_p50), load * rows[point].encode_ms
        sent = now + encode_ms / 1000
        adaptive.encoded(sent, frame_id, point, encode_ms, size)
        adaptive.sent(sent, frame_id, size)
        acked = sent + 8 * (size + 100) / (mbps * 1e6) + RTT_S
        adaptive.acked(acked, Ack(frame_id, size, round(1e6 * acked) + 10**12, 1))
        adaptive.answered(acked + server_ms / 1000, frame_id, ServerTiming(server_ms - 9.0, 2.0, 7.0))
    return points


def test_it_climbs_to_the_best_point_within_two_seconds():
    points = drive(policy(), 20.0, 20)
    assert points[0] == SMALL.point
    assert points[-1] == PICTURE.point


def test_it_follows_the_link_down_and_up():
    adaptive = policy()
    drive(adaptive, 20.0, 30)
    assert drive(adaptive, 1.0, 10, 31)[-1] == LARGE.point
    assert drive(adaptive, 20.0, 20, 41)[-1] == PICTURE.point


def test_the_width_follows_the_load_within_five_frames():
    adaptive = policy(SPLIT_TABLE)
    assert drive(adaptive, 8.0, 30)[-1] == LARGE.point
    assert drive(adaptive, 8.0, 6, 31, load=2.0)[-1] != LARGE.point


def test_a_server_that_becomes_slower_gets_quicker_points_after_three_frames():
    adaptive = policy(SPLIT_TABLE)
    assert drive(adaptive, 8.0, 30)[-1] == LARGE.point
    points = drive(adaptive, 8.0, 4, 31, server_ms=90.0)
    assert points == [LARGE.point] * 3 + [MIDDLE.point]


def test_busy_cores_are_an_early_warning():
    adaptive = policy(SPLIT_TABLE)
    assert drive(adaptive, 8.0, 30)[-1] == LARGE.point
    adaptive.sampled(3.1, CpuSample(busy=1.0, own=0.0))
    assert adaptive.choose(3.1, context(31, 3.1)).point == MIDDLE.point


def test_it_tells_what_it_believes():
    adaptive = policy()
    assert adaptive.state(0.0).capacity_bps is None
    drive(adaptive, 2.0, 30)
    known = adaptive.state(3.1)
    assert known.capacity_bps == pytest.approx(2e6, rel=0.2)
    assert known.rtt_min_ms == pytest.approx(30, abs=5)
    assert known.load_factor == pytest.approx(1.0)
    assert known.in_flight_bytes == 0


def test_a_new_session_is_measured_anew():
    adaptive = policy()
    drive(adaptive, 20.0, 30)
    adaptive.link_down(3.1)
    adaptive.link_up(9.0)
    assert adaptive.state(9.0).capacity_bps is None
    assert adaptive.choose(9.0, context(90, 9.0)).point == SMALL.point


def test_the_policy_of_a_new_model_knows_what_the_one_before_has_learnt():
    earlier, later = policy(), policy()
    drive(earlier, 20.0, 30)
    before = earlier.state(3.0)
    later.follow(earlier)
    later.link_down(3.0)  # the session of the model before ends, and another one is opened
    later.link_up(3.05)
    assert later.state(3.05).capacity_bps == before.capacity_bps is not None
    assert later.state(3.05).in_flight_bytes == 0
    assert drive(later, 20.0, 1, 31) == [PICTURE.point]
    later.link_down(4.0)  # but no session after that goes the same way for sure
    later.link_up(4.05)
    assert later.state(4.05).capacity_bps is None


def test_a_policy_learns_nothing_from_one_of_another_kind_and_loses_nothing():
    adaptive = policy()
    drive(adaptive, 20.0, 30)
    before = adaptive.state(3.0)
    adaptive.follow(FixedPolicy(SMALL.point))
    adaptive.follow(adaptive)
    assert adaptive.state(3.0) == before


def test_it_works_offline_only_with_a_detector_on_the_device():
    assert policy(has_local=True).works_offline
    assert not policy().works_offline
    assert not policy(SPLIT_TABLE, has_local=True).works_offline


def test_the_detectors_own_load_is_learnt():
    adaptive = policy(has_local=True)
    for frame_id in range(20):
        adaptive.detected_locally(frame_id / 10, frame_id, 800.0)
    decision = adaptive.choose(2.0, context(20, 2.0, can_send=False))
    assert decision.point == LOCAL
    assert decision.predicted.encode_ms == pytest.approx(800, rel=0.02)


def test_points_and_frames_that_it_does_not_know_are_ignored():
    adaptive = policy()
    adaptive.encoded(0.0, 1, OperatingPoint(Codec.WEBP, 0, 1), 5.0, 100)
    adaptive.answered(0.0, 77, ServerTiming(0.0, 0.0, 0.0))
    adaptive.failed(0.0, 78)
    adaptive.acked(0.0, Ack(79, 100, 0, 1))
    assert adaptive.state(0.1).capacity_bps is None


def test_a_failed_frame_is_no_longer_under_way():
    adaptive = policy()
    adaptive.sent(0.0, 1, 1000)
    assert adaptive.state(0.0).in_flight_bytes == 1100
    adaptive.failed(0.1, 1)
    assert adaptive.state(0.1).in_flight_bytes == 0


def test_two_threads_may_use_it_at_once():
    adaptive = policy(has_local=True)
    with ThreadPoolExecutor(2) as threads:
        driven = threads.submit(drive, adaptive, 5.0, 200)
        for i in range(500):
            adaptive.state(i / 100)
            adaptive.sampled(i / 100, CpuSample(0.5, 0.2))
        assert len(driven.result()) == 200
