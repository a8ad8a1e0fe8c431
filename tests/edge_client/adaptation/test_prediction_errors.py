"""The chance of a frame to be in time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.prediction_errors import FRAMES, PRIOR, PredictionErrors


def test_before_there_are_frames_errors_are_normal_with_an_outlier():
    chances = PredictionErrors().chances(np.array([-math.inf, 0.0, 1.28, 2.4, 3.0, math.inf]))
    assert chances.tolist() == [0.0, 0.5, 0.9, 0.9, 1.0, 1.0]


def test_frames_that_were_early_raise_the_chance_and_lost_ones_lower_it():
    errors = PredictionErrors()
    for _ in range(FRAMES):
        errors.add(-1.0)
    assert errors.chance(-0.5) == pytest.approx((FRAMES + 3) / (FRAMES + len(PRIOR)))
    for _ in range(FRAMES // 2):
        errors.add(math.inf)
    assert errors.chance(100.0) == pytest.approx((FRAMES // 2 + len(PRIOR)) / (FRAMES + len(PRIOR)))


def test_older_frames_are_forgotten():
    errors, fresh = PredictionErrors(), PredictionErrors()
    for error in [5.0] * 100 + [0.0] * FRAMES:
        errors.add(error)
    for error in [0.0] * FRAMES:
        fresh.add(error)
    assert errors.chance(1.0) == fresh.chance(1.0)


@given(st.lists(st.floats(allow_nan=False), max_size=100), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_more_slack_never_means_less_chance(seen, one, other):
    errors = PredictionErrors()
    for error in seen:
        errors.add(error)
    low, high = sorted((one, other))
    assert 0 <= errors.chance(low) <= errors.chance(high) <= 1
