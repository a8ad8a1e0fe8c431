"""The estimator of the uplink: exact traces, bad acks, random links."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.capacity import MAX_BPS
from edge_client.adaptation.link import MAX_UNDER_WAY, MESSAGE_OVERHEAD_BYTES, RESOLUTION_S, LinkEstimate, LinkEstimator
from splitnet.messages import Ack

RTT_S = 0.030


@dataclass
class Uplink:
    """A link of constant rate in front of an estimator. The server's clock is ahead by some days."""

    bps: float
    estimator: LinkEstimator = field(default_factory=LinkEstimator)
    clock_s: float = 400_000.0
    free: float = 0.0
    frame_id: int = 0

    def send(self, now: float, payload_bytes: int) -> tuple[float, Ack]:
        """Send a frame; returns when its ack comes, and the ack."""
        self.frame_id += 1
        self.estimator.sent(now, self.frame_id, payload_bytes)
        self.free = max(now, self.free) + 8 * (payload_bytes + MESSAGE_OVERHEAD_BYTES) / self.bps
        received = round((self.free + RTT_S / 2 + self.clock_s) * 1e6)
        return self.free + RTT_S, Ack(self.frame_id, payload_bytes, received, 1)

    def deliver(self, now: float, payload_bytes: int) -> float:
        """Send a frame and its ack; returns when that came."""
        arrived, ack = self.send(now, payload_bytes)
        self.estimator.acked(arrived, ack)
        return arrived


def after_frames(bps: float, sizes: tuple[int, ...] = (2900, 5900, 1900, 8900)) -> Uplink:
    """Return a link that has carried forty frames, ten a second."""
    link = Uplink(bps)
    for i in range(40):
        link.deliver(i / 10, sizes[i % len(sizes)])
    return link


def test_nothing_is_known_before_the_first_ack():
    assert LinkEstimator().estimate(1.0) == LinkEstimate(unheard_s=1.0)


@pytest.mark.parametrize("bps", [2e5, 1e6, 5e6])
def test_capacity_and_round_trip_of_a_constant_link(bps):
    estimate = after_frames(bps, (900, 1400, 600, 1900)).estimator.estimate(4.5)
    assert estimate.capacity_bps == pytest.approx(bps, rel=0.15)
    assert estimate.rtt_min_ms == pytest.approx(30, abs=3)
    assert not estimate.overusing
    assert estimate.in_flight_bytes == 0
    assert estimate.silent_ms == 0


def test_two_frames_back_to_back_give_the_rate_by_the_servers_clock_alone():
    link = Uplink(1e6)
    first, second = link.send(0.0, 4900), link.send(0.001, 9900)
    link.estimator.acked(first[0], first[1])
    link.estimator.acked(second[0] + 0.2, second[1])  # the way back was slow
    assert link.estimator.estimate(1.0).capacity_bps == pytest.approx(1e6, rel=0.2)


def test_a_jump_of_the_servers_clock_spoils_no_estimate():
    link = after_frames(1e6)
    before = link.estimator.estimate(4.5).capacity_bps
    first, second = link.send(5.0, 4900), link.send(5.001, 4900)
    link.estimator.acked(first[0], first[1])
    jumped = Ack(second[1].frame_id, 4900, second[1].server_receive_time_us + 3_600_000_000, 1)
    link.estimator.acked(second[0], jumped)
    assert link.estimator.estimate(5.5).capacity_bps == pytest.approx(before, rel=0.1)


def test_the_clock_of_the_server_may_go_backwards():
    link = after_frames(1e6)
    link.clock_s -= 1000
    for i in range(10):
        link.deliver(5 + i / 10, 4900)
    assert link.estimator.estimate(6.5).capacity_bps == pytest.approx(1e6, rel=0.1)


def test_small_frames_on_a_fast_link_are_app_limited_and_larger_ones_are_not():
    link = Uplink(50e6)
    for i in range(10):
        link.deliver(i / 10, 500 + 900 * (i % 3))
    assert link.estimator.estimate(1.0).app_limited
    link.deliver(1.0, 39_900)
    assert not link.estimator.estimate(1.5).app_limited


def test_silence_bounds_the_capacity_before_any_ack():
    link = after_frames(4e6)
    link.send(5.0, 9900)
    soon, later, much_later = (link.estimator.estimate(5.0 + s).capacity_bps for s in (0.04, 0.3, 3.0))
    assert soon == pytest.approx(4e6, rel=0.1)
    assert later == pytest.approx(80_000 / 0.27, rel=0.1)
    assert much_later == pytest.approx(80_000 / 2.97, rel=0.1)


def test_an_overdue_ack_is_overuse_and_silence():
    link = after_frames(4e6)
    link.send(5.0, 9900)
    estimate = link.estimator.estimate(5.5)
    assert estimate.overusing
    assert estimate.silent_ms == pytest.approx(450, abs=5)
    assert estimate.in_flight_bytes == 10_000


def test_a_large_frame_on_a_slow_link_is_not_silence():
    link = after_frames(2e5, (900, 1400, 600, 1900))
    link.send(5.0, 9900)
    assert link.estimator.estimate(5.35).silent_ms == 0


def test_what_the_link_has_taken_is_no_longer_queued():
    link = after_frames(1e6)
    link.send(5.0, 9900)
    assert link.estimator.estimate(5.0).queued_bytes == 10_000
    assert link.estimator.estimate(5.04).queued_bytes == pytest.approx(5000, rel=0.1)


def test_a_quarter_of_the_rate_is_seen_with_the_first_ack():
    link = after_frames(4e6, (9900, 19_900, 14_900))
    link.bps = 1e6
    link.deliver(5.0, 19_900)
    assert link.estimator.estimate(5.3).capacity_bps == pytest.approx(1e6, rel=0.1)


def test_duplicated_and_unknown_acks_change_nothing():
    link = after_frames(1e6)
    arrived, ack = link.send(5.0, 4900)
    link.estimator.acked(arrived, ack)
    before = link.estimator.estimate(6.0)
    link.estimator.acked(5.9, ack)
    link.estimator.acked(5.9, Ack(999, 4900, 0, 1))
    assert link.estimator.estimate(6.0) == before


def test_an_ack_out_of_order_or_at_an_impossible_time_teaches_nothing():
    link = after_frames(1e6)
    before = link.estimator.estimate(4.5).capacity_bps
    (first_at, first), (_, second) = link.send(5.0, 4900), link.send(5.001, 4900)
    link.estimator.acked(5.0005, second)
    link.estimator.acked(4.0, first)
    assert link.estimator.estimate(first_at).capacity_bps == before
    assert link.estimator.estimate(first_at).in_flight_bytes == 0


def test_missing_acks_do_not_pile_up():
    estimator = LinkEstimator()
    for i in range(1000):
        estimator.sent(i / 10, i, 1000)
    assert estimator.estimate(100.0).in_flight_bytes == MAX_UNDER_WAY * (1000 + MESSAGE_OVERHEAD_BYTES)


def test_a_frame_that_is_answered_is_no_longer_under_way():
    estimator = LinkEstimator()
    estimator.sent(0.0, 1, 1000)
    estimator.forget(0.1, 1)
    assert estimator.estimate(0.1).in_flight_bytes == 0


def test_a_new_session_begins_with_nothing():
    link = after_frames(1e6)
    link.estimator.reset(10.0)
    assert link.estimator.estimate(10.0) == LinkEstimate()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["send", "ack", "late ack", "forget", "wild ack"]),
        st.floats(0, 3),  # seconds since the event before
        st.integers(0, 200_000),  # bytes
        st.integers(-(10**15), 10**15),  # microseconds of a clock out of its mind
    ),
    max_size=120,
)


@given(EVENTS)
def test_no_link_however_wild_makes_an_estimate_impossible(events):
    estimator, now, frame_id, waiting, fastest = LinkEstimator(), 0.0, 0, [], 0.0
    for kind, gap_s, size, clock_us in events:
        now += gap_s
        if kind == "send":
            frame_id += 1
            estimator.sent(now, frame_id, size)
            waiting.append(frame_id)
            fastest = max(fastest, 8 * (size + MESSAGE_OVERHEAD_BYTES) / RESOLUTION_S)
        elif waiting:
            chosen = waiting.pop(0 if kind != "late ack" else -1)
            if kind == "forget":
                estimator.forget(now, chosen)
            else:
                server_us = clock_us if kind == "wild ack" else round(now * 1e6)
                estimator.acked(now, Ack(chosen, size, server_us, 1))
        estimate = estimator.estimate(now)
        for value in (estimate.capacity_bps, estimate.capacity_low_bps, estimate.rtt_min_ms, estimate.rtt_ms):
            assert value is None or (math.isfinite(value) and value >= 0)
        if estimate.capacity_bps is not None:
            assert 0 < estimate.capacity_low_bps <= estimate.capacity_bps <= min(fastest * 1.0001, MAX_BPS)
        assert 0 <= estimate.queued_bytes <= estimate.in_flight_bytes
        assert estimate.silent_ms >= 0 and estimate.late_ms >= 0


def test_layers_are_frames_to_the_link_and_are_forgotten_with_their_frame():
    estimator = LinkEstimator()
    estimator.sent(0.0, 1, 900)
    estimator.sent(0.0, 1, 1900, layer=1)
    estimator.acked(0.08, Ack(1, 900, 1_000_000, 1))
    estimator.acked(0.18, Ack(1, 1900, 1_100_000, 1, layer=1))
    assert estimator.estimate(0.2).capacity_bps == pytest.approx(8 * 2000 / 0.1, rel=0.4)
    estimator.sent(0.3, 2, 900)
    estimator.sent(0.3, 2, 1900, layer=1)
    estimator.forget(0.4, 2)
    assert estimator.estimate(0.4).in_flight_bytes == 0
