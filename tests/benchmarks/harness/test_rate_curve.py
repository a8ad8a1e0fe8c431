"""Curves with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.rate_curve import RateCurve, bd_rate, front

APS = np.array([10.0, 15.0, 20.0, 25.0])
SIZES = np.array([500.0, 1000.0, 2000.0, 4000.0])


def test_half_the_bytes_at_every_accuracy_is_minus_fifty_percent():
    found = bd_rate(front(SIZES / 2, APS), front(SIZES, APS))
    assert found is not None
    assert found.percent == pytest.approx(-50.0)
    assert (found.ap_from, found.ap_to) == (10.0, 25.0)


def test_the_rate_is_averaged_over_the_accuracy_that_both_reach():
    ours = front(np.array([100.0, 800.0]), np.array([5.0, 20.0]))  # doubles every 5 AP
    theirs = front(np.array([400.0, 1600.0]), np.array([10.0, 30.0]))  # doubles every 10 AP
    found = bd_rate(ours, theirs)
    assert found is not None
    assert (found.ap_from, found.ap_to) == (10.0, 20.0)
    # from 200 to 800 against 400 to 800: a half at one end, the same at the other, in logarithms the root of a half
    assert found.percent == pytest.approx(100 * (math.sqrt(0.5) - 1))


def test_points_inside_the_range_are_followed():
    bent = front(np.array([100.0, 400.0, 400.0 * 2**0.5]), np.array([0.0, 5.0, 10.0]))
    straight = front(np.array([100.0, 100.0 * 2**0.5]), np.array([0.0, 10.0]))
    found = bd_rate(bent, straight)
    assert found is not None
    # in octaves: (0 + 2) / 2 for one half, (2 + 2.5) / 2 for the other, against 0.25
    assert found.percent == pytest.approx(100 * (2 ** ((1.0 + 2.25) / 2 - 0.25) - 1))


def test_curves_that_share_no_accuracy_cannot_be_compared():
    low, high = front(SIZES, APS), front(SIZES, APS + 15)
    assert bd_rate(low, high) is None
    assert bd_rate(high, low) is None
    assert bd_rate(RateCurve(np.zeros(0), np.zeros(0)), low) is None


def test_a_front_leaves_out_what_takes_more_bytes_for_less():
    kept = front(np.array([400.0, 100.0, 200.0, 100.0, 800.0]), np.array([20.0, 10.0, 10.0, 5.0, 19.0]))
    assert np.exp(kept.log_bytes) == pytest.approx([100.0, 400.0])
    assert kept.ap.tolist() == [10.0, 20.0]


def test_accuracy_at_a_size_is_read_off_the_logarithm_of_the_bytes():
    curve = front(SIZES, APS)
    assert curve.ap_at(1000) == pytest.approx(15.0)
    assert curve.ap_at(1000 * 2**0.5) == pytest.approx(17.5)
    assert curve.ap_at(1e6) == 25.0
    assert math.isnan(curve.ap_at(499))


@given(
    st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 100)), min_size=1, max_size=30),
    st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 100)), min_size=1, max_size=30),
)
def test_two_curves_judge_one_another_alike(ours, theirs):
    first, second = (front(*np.array(points, np.float64).T) for points in (ours, theirs))
    assert (np.diff(first.ap) > 0).all()
    assert (np.diff(first.log_bytes) > 0).all()
    there, back = bd_rate(first, second), bd_rate(second, first)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1.0)
