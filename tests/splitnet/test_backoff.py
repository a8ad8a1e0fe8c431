"""Delays between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from splitnet.backoff import Backoff


def test_delays_double_up_to_the_ceiling():
    backoff = Backoff(random=lambda: 1.0, first_s=0.1, ceiling_s=0.5)
    assert [round(backoff.next_delay_s(), 3) for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_success_starts_over():
    backoff = Backoff(random=lambda: 1.0, first_s=0.1)
    backoff.next_delay_s()
    backoff.reset()
    assert backoff.next_delay_s() == 0.1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_jitter_keeps_every_delay_in_the_upper_half_of_its_step(draws):
    remaining = iter(draws)
    backoff = Backoff(random=lambda: next(remaining), first_s=0.1, ceiling_s=2.0)
    for attempt in range(len(draws)):
        step = min(2.0, 0.1 * 2**attempt)
        assert step / 2 <= backoff.next_delay_s() <= step * 1.000001
