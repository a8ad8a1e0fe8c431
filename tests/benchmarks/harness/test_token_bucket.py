"""A rate as tokens, exactly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.token_bucket import CHUNK_BYTES, LATE_S, TokenBucket

MBPS = 1e6


def test_the_first_chunk_passes_at_once_and_the_next_waits_for_its_bytes():
    bucket = TokenBucket(0.0, 1.2 * MBPS)  # 150 bytes a millisecond
    assert bucket.wait_s(0.0, 1500) == 0.0
    bucket.take(1500)
    assert bucket.wait_s(0.0, 1500) == 0.01
    assert bucket.wait_s(0.004, 1500) == pytest.approx(0.006)
    assert bucket.wait_s(0.010, 1500) == 0.0


def test_another_rate_counts_from_the_moment_it_is_set():
    bucket = TokenBucket(0.0, 1.2 * MBPS)
    bucket.take(1500)
    bucket.set_rate(0.005, 0.6 * MBPS)
    assert bucket.wait_s(0.005, 1500) == 0.01


def test_an_outage_is_without_end_until_there_is_a_rate_again():
    bucket = TokenBucket(0.0, 0.0)
    bucket.take(1500)
    assert bucket.wait_s(1000.0, 1) == math.inf
    bucket.set_rate(1000.0, 1.2 * MBPS)
    assert bucket.wait_s(1000.0, 150) == 0.001


def test_unused_time_is_lost_but_for_what_a_late_wake_up_needs():
    slow, fast = TokenBucket(0.0, 1.2 * MBPS), TokenBucket(0.0, 120 * MBPS)
    assert slow.wait_s(60.0, CHUNK_BYTES) == 0.0
    assert slow.wait_s(60.0, CHUNK_BYTES + 150) == 0.001
    limit = int(120 * MBPS / 8 * LATE_S)
    assert fast.wait_s(60.0, limit) == 0.0
    assert fast.wait_s(60.0, limit + 15_000) == 0.001


@given(st.lists(st.tuples(st.floats(0, 0.05), st.floats(0, 2e7), st.integers(1, CHUNK_BYTES)), max_size=80))
def test_nobody_gets_more_than_the_link_has_carried(steps):
    now, allowed, taken, rate_bps = 0.0, float(CHUNK_BYTES), 0, MBPS
    bucket = TokenBucket(now, rate_bps)
    for seconds, next_rate_bps, size in steps:
        now += seconds
        allowed += rate_bps * seconds / 8
        if bucket.wait_s(now, size) == 0.0:
            bucket.take(size)
            taken += size
        bucket.set_rate(now, next_rate_bps)
        rate_bps = next_rate_bps
        assert taken <= allowed + 1e-3
