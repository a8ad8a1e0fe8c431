"""Percentiles in constant memory, and the window of recent values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.percentiles import LatencyHistogram, RecentWindow, percentile


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=300), st.sampled_from([50, 90, 95, 99, 100]))
def test_the_histogram_is_exact_to_a_quarter_of_a_percent(durations, percent):
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    exact = np.percentile(durations, percent)
    assert histogram.percentile_ms(percent) == pytest.approx(exact, rel=0.003)


def test_times_outside_the_range_count_as_its_ends():
    histogram = LatencyHistogram()
    for duration in (-5.0, 0.0, 1e9):
        histogram.add(duration)
    assert histogram.percentile_ms(50) == pytest.approx(0.001, rel=0.01)
    assert histogram.percentile_ms(100) == pytest.approx(1e6, rel=0.01)


def test_an_empty_histogram_says_zero():
    assert LatencyHistogram().percentile_ms(50) == 0.0


def test_the_window_forgets_what_is_older_than_its_span():
    window = RecentWindow(span_s=5.0)
    for second in range(10):
        window.add(float(second), second * 10.0)
    assert window.values(9.0) == [40.0, 50.0, 60.0, 70.0, 80.0, 90.0]


def test_the_rate_is_counted_from_the_oldest_value_in_the_window():
    window = RecentWindow(span_s=5.0)
    for tick in range(101):
        window.add(tick * 0.1, 0.0)
    assert window.rate_per_s(10.0) == pytest.approx(10.0, rel=0.03)


def test_a_single_value_makes_no_rate():
    window = RecentWindow()
    window.add(1.0, 0.0)
    assert window.rate_per_s(1.0) == 0.0


def test_percentile_of_a_short_list():
    assert percentile([], 95) == 0.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([3.0, 1.0, 2.0], 95) == pytest.approx(2.9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 100))
def test_a_percentile_is_the_one_that_numpy_gives(values, percent):
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-6)
