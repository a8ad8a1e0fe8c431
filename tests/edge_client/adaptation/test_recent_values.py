"""Statistics of the last frames."""

from __future__ import annotations

import math

import pytest

from edge_client.adaptation.recent_values import ENOUGH, FEW_P90, FRAMES, LATEST, FramePace, RecentValues
from edge_client.adaptation.spread import Spread


def test_a_few_values_are_not_believed():
    values = RecentValues()
    for i in range(ENOUGH - 1):
        values.add(float(i))
    assert values.spread is None


def test_a_figure_that_varies_little_may_count_from_its_first_value_on():
    values = RecentValues(enough=1)
    spreads = []
    for value in (2.0, 4.0, 3.0):
        values.add(value)
        spreads.append(values.spread)
    assert spreads == [Spread(2.0, 2.0 * FEW_P90), Spread(3.0, 3.0 * FEW_P90), Spread(3.0, 3.0 * FEW_P90)]


def test_the_spread_is_median_and_p90():
    values = RecentValues()
    for i in range(1, 11):
        values.add(float(i))
    assert values.spread == Spread(5.5, pytest.approx(9.1))


def test_older_values_are_forgotten():
    values = RecentValues()
    for value in [1.0] * FRAMES + [2.0] * FRAMES:
        values.add(value)
    assert values.spread == Spread(2.0, 2.0)


def test_a_figure_that_may_jump_is_believed_after_three_values():
    values, steady = RecentValues(rises=True), RecentValues()
    for value in [10.0] * FRAMES + [90.0] * 2:
        values.add(value)
        steady.add(value)
    assert values.spread == Spread(10.0, 10.0)
    values.add(90.0)
    steady.add(90.0)
    assert values.spread == Spread(90.0, 90.0)
    assert steady.spread == Spread(10.0, 10.0)


def test_outliers_do_not_make_a_jump():
    values = RecentValues(rises=True)
    for value in [10.0] * FRAMES + [90.0, 10.0, 10.0, 90.0, 10.0]:
        values.add(value)
    assert values.spread == Spread(10.0, 10.0)


def test_a_figure_that_has_fallen_is_believed_once_most_values_say_so():
    values = RecentValues(rises=True)
    for value in [90.0] * FRAMES + [10.0] * LATEST:
        values.add(value)
    assert values.spread == Spread(90.0, 90.0)
    for _ in range(FRAMES // 2):
        values.add(10.0)
    assert values.spread == Spread(10.0, 90.0)


@pytest.mark.parametrize("nonsense", [-1.0, math.nan, math.inf])
def test_nonsense_is_ignored(nonsense):
    values = RecentValues()
    for value in [1.0] * ENOUGH + [nonsense] * 10:
        values.add(value)
    assert values.spread == Spread(1.0, 1.0)


def test_the_pace_counts_frames_that_were_never_taken():
    pace = FramePace()
    for frame_id in (1, 4, 5, 9):
        pace.add(frame_id, frame_id / 25)
    assert pace.interval_ms == pytest.approx(40)


def test_the_pace_is_unknown_before_the_second_frame():
    pace = FramePace()
    pace.add(1, 0.0)
    assert pace.interval_ms is None


def test_frames_out_of_order_do_not_disturb_the_pace():
    pace = FramePace()
    for frame_id, time in ((1, 0.0), (2, 0.1), (2, 0.1), (1, 5.0), (2, 5.1)):
        pace.add(frame_id, time)
    assert pace.interval_ms == pytest.approx(100)
