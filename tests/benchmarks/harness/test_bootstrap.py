"""Intervals of figures that were taken on a few hundred images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.harness.bootstrap import interval


def test_an_interval_turns_the_deviations_of_the_resamples_round():
    assert interval(np.array([50.0, *range(101)], np.float64)) == (2.5, 97.5)
    assert interval(np.array([20.0, *range(101)], np.float64)) == (-57.5, 37.5)
    assert interval(np.array([7.0, np.nan, 3.0])) == (7.0, 11.0)


def test_a_figure_lies_in_its_interval_even_if_every_resample_is_above_it():
    low, high = interval(np.array([0.0, *range(1, 102)], np.float64))
    assert (low, high) == (-98.5, 0.0)


@pytest.mark.parametrize("values", [[7.0, np.nan], [np.nan, 7.0], [7.0]])
def test_an_unknown_figure_has_no_interval(values):
    assert interval(np.array(values)) == (None, None)


@given(st.integers(0, 2**32 - 1), st.floats(-5, 5))
@settings(max_examples=50)
def test_a_figure_lies_in_its_interval(seed, shift):
    rng = np.random.default_rng(seed)
    values = np.array([20.0, *(20.0 + shift + rng.normal(size=40))])
    low, high = interval(values)
    assert low <= 20.0 <= high


def test_the_interval_of_a_difference_is_that_of_the_paired_difference():
    noise = np.random.default_rng(0).normal(0, 3, 200)
    one, other = (np.array([base, *(base + noise)]) for base in (30.0, 28.0))
    low, high = interval(one - other)
    assert (low, high) == pytest.approx((2.0, 2.0))
    assert interval(one)[1] - interval(one)[0] > 5
