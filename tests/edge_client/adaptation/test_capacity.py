"""The capacity of a link from how long it took for frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.capacity import MAX_BPS, Capacity


def steady(bps: float, frames: int = 10, size: int = 5000) -> Capacity:
    """Return what is known after frames at a constant rate, ten a second."""
    capacity = Capacity()
    for i in range(frames):
        capacity.add(i / 10, size, 8 * size / bps, at_least=False)
    return capacity


def test_nothing_is_known_before_the_first_frame():
    assert Capacity().mean_bps is None
    assert Capacity().late_s == 0.0


def test_a_constant_rate_is_found_exactly():
    capacity = steady(1e6)
    assert capacity.mean_bps == pytest.approx(1e6)
    assert capacity.late_s == pytest.approx(0.0, abs=1e-12)


def test_the_mean_is_bytes_over_busy_time_with_older_frames_fading():
    capacity = Capacity()
    capacity.add(0.0, 1000, 0.010, at_least=False)
    capacity.add(0.7, 1000, 0.014, at_least=False)  # the first one counts 1/e
    assert capacity.mean_bps == pytest.approx(8000 * 1.36788 / (0.36788 * 0.010 + 0.014), rel=1e-4)


def test_lateness_is_what_nine_of_ten_frames_stay_below():
    capacity = steady(1e6)
    for i in range(10, 14):
        assert capacity.add(i / 10, 5000, 0.050, at_least=False) == pytest.approx(0.010, abs=0.01)
    assert 0 < capacity.late_s <= 0.010


def test_one_frame_at_a_quarter_of_the_rate_is_enough():
    capacity = steady(4e6, size=20_000)
    capacity.add(1.0, 20_000, 0.160, at_least=False)
    assert capacity.mean_bps == pytest.approx(1e6)


def test_after_an_outage_the_link_is_taken_to_be_as_before():
    capacity = steady(1e6)
    capacity.add(6.0, 5000, 5.0, at_least=False)
    assert capacity.mean_bps == pytest.approx(8000)
    capacity.add(6.1, 5000, 0.040, at_least=False)
    assert capacity.mean_bps == pytest.approx(1e6)


def test_after_a_step_down_the_next_frame_confirms_the_new_rate():
    capacity = steady(4e6, size=20_000)
    for i in range(10, 12):
        capacity.add(i / 10, 20_000, 0.160, at_least=False)
    assert capacity.mean_bps == pytest.approx(1e6)


def test_two_frames_that_are_twice_as_fast_raise_the_estimate_at_once():
    capacity = steady(1e6)
    capacity.add(1.0, 5000, 0.008, at_least=False)
    assert capacity.mean_bps < 2e6
    capacity.add(1.1, 5000, 0.008, at_least=False)
    assert capacity.mean_bps == pytest.approx(5e6)


def test_an_app_limited_sample_never_lowers_the_estimate():
    capacity = steady(8e6)
    capacity.add(1.0, 500, 0.1, at_least=True)
    assert capacity.mean_bps == pytest.approx(8e6)


def test_a_frame_that_took_no_time_does_not_divide_by_zero():
    capacity = Capacity()
    capacity.add(0.0, 5000, 0.0, at_least=False)
    assert capacity.mean_bps == pytest.approx(MAX_BPS)


FRAMES = st.lists(
    st.tuples(st.floats(0, 2), st.integers(1, 100_000), st.floats(0, 100), st.booleans()), min_size=1, max_size=60
)


@given(FRAMES)
def test_the_estimate_stays_between_the_slowest_and_the_fastest_frame(frames):
    capacity, now, rates = Capacity(), 0.0, []
    for gap_s, size, duration_s, at_least in frames:
        now += gap_s
        capacity.add(now, size, duration_s, at_least)
        rates.append(min(8 * size / duration_s, MAX_BPS) if duration_s > 0 else MAX_BPS)
        assert min(rates) * (1 - 1e-6) <= capacity.mean_bps <= max(rates) * (1 + 1e-6)
        assert 0 <= capacity.late_s <= 100
