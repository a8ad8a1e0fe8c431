"""The slots that tbf is told: what passes in the long run is what the trace lets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.adaptation.shaping import (
    BLOCKED,
    BLOCKED_BPS,
    FRAME_BYTES,
    PACKET_BYTES,
    SPARE_BYTES,
    Bucket,
    PacketBudget,
    queue_bytes_for,
)

ONE_PACKET = FRAME_BYTES + SPARE_BYTES
SLOT_S = 0.1
PACKET_BPS = PACKET_BYTES * 8 / SLOT_S  # one packet a slot


def passed(bucket: Bucket | None, duration_s: float = SLOT_S) -> int:
    """Return the full packets that pass a bucket that always has some waiting, from one change to the next."""
    if bucket is None:
        return 0
    return int((bucket.burst_bytes + bucket.rate_bps * duration_s / 8) // FRAME_BYTES)


def test_a_slot_lets_its_packets_through_the_first_at_once():
    rate_bps = (7.5 * FRAME_BYTES - ONE_PACKET) * 8 / SLOT_S
    assert PacketBudget().next_slot(7 * PACKET_BPS, SLOT_S) == Bucket(rate_bps, ONE_PACKET)


def test_one_packet_a_slot_is_what_the_change_itself_lets_through():
    assert PacketBudget().next_slot(PACKET_BPS, SLOT_S) == Bucket(BLOCKED_BPS, ONE_PACKET)


def test_a_fraction_of_a_packet_waits_for_the_next_slot():
    budget = PacketBudget()
    slots = [budget.next_slot(2.5 * PACKET_BPS, SLOT_S) for _ in range(4)]
    assert [passed(slot) for slot in slots] == [2, 3, 2, 3]


def test_a_slow_link_passes_a_packet_now_and_then_and_is_left_alone_between():
    budget = PacketBudget()
    slots = [budget.next_slot(PACKET_BPS / 4, SLOT_S) for _ in range(12)]
    assert [passed(slot) for slot in slots] == [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert slots.count(None) == 9


def test_an_outage_blocks_once_and_the_packet_that_slips_through_is_paid_for_afterwards():
    budget = PacketBudget()
    capacities = [3, 0, 0, 0, 3, 3]
    slots = [budget.next_slot(capacity * PACKET_BPS, SLOT_S) for capacity in capacities]
    assert slots[1:4] == [BLOCKED, None, None]
    assert [passed(slot) for slot in slots] == [3, 1, 0, 0, 2, 3]


def test_a_fast_link_gets_a_bucket_that_outlasts_a_late_wake_up():
    bucket = PacketBudget().next_slot(100 * PACKET_BPS, SLOT_S)
    assert bucket.burst_bytes == int(100.5 * FRAME_BYTES / SLOT_S * 0.004) + SPARE_BYTES
    assert passed(bucket) == 100


def test_a_capacity_beyond_all_links_is_one_that_tc_can_be_told():
    assert PacketBudget().next_slot(float("inf"), SLOT_S).rate_bps < 11e9


@given(st.lists(st.floats(0, 3e7), min_size=1, max_size=60), st.sampled_from([0.02, 0.05, 0.1]))
def test_a_link_that_is_always_busy_carries_the_trace_s_bytes(capacities, slot_s):
    budget = PacketBudget()
    carried = allowed = 0.0
    for capacity_bps in capacities:
        bucket = budget.next_slot(capacity_bps, slot_s)
        allowed += capacity_bps * slot_s / 8
        carried += passed(bucket, slot_s) * PACKET_BYTES
        assert bucket is None or bucket.rate_bps >= BLOCKED_BPS
        assert abs(carried - allowed) <= PACKET_BYTES + 1


def test_tc_is_told_in_its_own_words():
    assert Bucket(1e6, 1600).tc_command("up0", 30000) == (
        "qdisc replace dev up0 root tbf rate 1000000bit burst 1600 limit 30000"
    )


def test_the_queue_is_a_number_of_bytes_but_never_smaller_than_an_image():
    assert queue_bytes_for(12e6, 250) == 375_000
    assert queue_bytes_for(0.1e6, 250) == 20 * FRAME_BYTES


def test_blocked_means_that_nothing_full_sized_passes_in_any_outage():
    assert FRAME_BYTES * 8 / BLOCKED.rate_bps == pytest.approx(1514)
