"""Scenes that a camera drifts to."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.updates.drift import DRIFTS, fog, lens, night

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", DRIFTS)
def test_an_image_drifts_to_the_same_one_every_time_and_keeps_its_size(name: str) -> None:
    once = DRIFTS[name](IMAGE)
    assert (once.shape, once.dtype) == (IMAGE.shape, np.uint8)
    np.testing.assert_array_equal(once, DRIFTS[name](IMAGE.copy()))


def test_night_is_dark_fog_is_bright_above_and_a_lens_is_soft() -> None:
    assert night(IMAGE).mean() < IMAGE.mean() / 2
    assert np.abs(fog(np.zeros_like(IMAGE))[[0, -1]].mean(axis=(1, 2)) - [160, 70]).max() <= 1
    assert lens(IMAGE).astype(float).std() < 0.7 * IMAGE.astype(float).std()
