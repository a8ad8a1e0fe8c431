"""The round trip of an empty message, from frames that are not empty."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.round_trip import RoundTrip


def latencies(
    rtt_s: float, bps: float, sizes: list[int], start: float = 0.0, trip: RoundTrip | None = None
) -> RoundTrip:
    """Return what is known after frames of some sizes, ten a second."""
    trip = trip or RoundTrip()
    for i, size in enumerate(sizes):
        trip.add(start + i / 10, size, rtt_s + 8 * size / bps)
    return trip


def test_nothing_is_known_before_the_first_ack():
    assert RoundTrip().minimum_ms is None
    assert RoundTrip().smoothed_ms is None
    assert RoundTrip().minimum_s == 0.0


def test_sizes_that_differ_tell_the_round_trip_from_the_transmission():
    sizes = np.random.default_rng(1).integers(1000, 6000, 100).tolist()
    assert latencies(0.030, 1e6, sizes).minimum_ms == pytest.approx(30, abs=1)


def test_it_does_not_follow_a_link_that_becomes_slower():
    rng = np.random.default_rng(2)
    trip = latencies(0.030, 4e6, rng.integers(1000, 20_000, 100).tolist())
    latencies(0.030, 5e5, rng.integers(1000, 4000, 100).tolist(), 10.0, trip)
    assert trip.minimum_ms == pytest.approx(30, abs=3)


def test_frames_of_one_size_leave_it_as_it_was():
    trip = latencies(0.030, 1e6, np.random.default_rng(3).integers(1000, 6000, 60).tolist())
    before = trip.minimum_ms
    latencies(0.030, 8e5, [3000] * 200, 6.0, trip)
    assert trip.minimum_ms == pytest.approx(before, abs=2)


def test_one_outage_hardly_moves_it():
    trip = latencies(0.030, 1e6, np.random.default_rng(4).integers(1000, 6000, 60).tolist())
    trip.add(12.0, 3000, 6.0)
    assert trip.minimum_ms == pytest.approx(30, abs=3)


def test_a_longer_route_is_noticed_in_the_end():
    rng = np.random.default_rng(5)
    trip = latencies(0.030, 4e6, rng.integers(1000, 6000, 100).tolist())
    latencies(0.080, 4e6, rng.integers(1000, 6000, 600).tolist(), 10.0, trip)
    assert trip.minimum_ms > 50


def test_a_shorter_route_is_noticed_at_once():
    trip = latencies(0.080, 4e6, [2000, 4000] * 20)
    trip.add(4.0, 1000, 0.025)
    assert trip.minimum_ms <= 25


def test_the_smoothed_latency_is_that_of_rfc_6298():
    trip = RoundTrip()
    trip.add(0.0, 1000, 0.080)
    trip.add(0.1, 1000, 0.160)
    assert trip.smoothed_ms == pytest.approx(90)


def test_jitter_is_the_smoothed_difference_of_two_clocks():
    trip = RoundTrip()
    trip.note_jitter(-0.016)
    assert trip.jitter_s == pytest.approx(0.001)


ACKS = st.lists(
    st.tuples(st.floats(0, 30), st.integers(1, 200_000), st.floats(1e-6, 100), st.booleans()), min_size=1, max_size=80
)


@given(ACKS)
def test_it_is_never_negative_nor_above_the_lowest_latency(acks):
    trip, now = RoundTrip(), 0.0
    for gap_s, size, seconds, is_transfer in acks:
        now += gap_s
        if is_transfer:
            trip.add_transfer(now, size, seconds)
        else:
            trip.add(now, size, seconds)
            assert trip.minimum_s <= seconds
        assert trip.minimum_s >= 0
        assert math.isfinite(trip.minimum_s)
