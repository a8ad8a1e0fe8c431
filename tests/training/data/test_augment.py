"""Changed images keep their boxes on their objects."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.letterbox import PADDING_VALUE, Letterbox
from tests.support.tiny_student import random_images
from training.data.augment import Sample, letterboxed, mirrored, recoloured, scaled, varied, visible, window
from training.data.mosaic import mosaic, single


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sample(*boxes: tuple[int, int, int, int], height: int = 60, width: int = 80, shade: int = 255) -> Sample:
    """Return a black image whose boxes are filled with a shade; labels count from 0."""
    image = np.zeros((height, width, 3), np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = shade
    return Sample(image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes), dtype=np.int64))


def box_of(image: np.ndarray, least: int = 200) -> list[int]:
    """Return the box around everything bright."""
    rows, columns = np.nonzero(image[..., 0] >= least)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_a_mirrored_box_lies_on_its_mirrored_object():
    result = mirrored(sample((5, 10, 30, 20)))
    assert result.boxes.tolist() == [[50, 10, 75, 20]]
    assert box_of(result.image) == [50, 10, 75, 20]


def test_mirroring_twice_changes_nothing():
    first = sample((5, 10, 30, 20), (0, 0, 80, 60))
    again = mirrored(mirrored(first))
    assert np.array_equal(again.image, first.image)
    assert np.array_equal(again.boxes, first.boxes)


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0])
def test_a_scaled_box_lies_on_its_scaled_object(scale):
    result = scaled(sample((8, 12, 40, 48)), scale)
    assert result.image.shape == (60 * scale, 80 * scale, 3)
    assert result.boxes.tolist() == [[8 * scale, 12 * scale, 40 * scale, 48 * scale]]
    assert np.abs(np.array(box_of(result.image)) - result.boxes[0]).max() <= 1


def test_nothing_is_scaled_away():
    assert scaled(sample(), 1e-6).image.shape == (1, 1, 3)


def test_a_window_moves_clips_and_drops_boxes():
    whole = sample((10, 10, 30, 30), (0, 0, 12, 12), (60, 40, 80, 60))
    part = window(whole, 8, 5, 40, 30)
    assert part.image.shape == (30, 40, 3)
    assert part.boxes.tolist() == [[2, 5, 22, 25]]  # of the second, 28 of 144 pixels are seen
    assert part.labels.tolist() == [0]


def test_a_box_counts_while_a_fifth_of_it_is_seen():
    whole = np.array([[0, 0, 10, 10]] * 3, np.float32)
    seen = np.array([[0, 0, 2, 10], [0, 0, 1.9, 10], [0, 0, 10, 10]], np.float32)
    assert visible(whole, seen).tolist() == [True, False, True]


def test_a_speck_does_not_count():
    speck = np.array([[3, 3, 4.9, 9]], np.float32)
    assert visible(speck, speck).tolist() == [False]


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (40, 40), (7, 300)])
def test_a_letterboxed_image_lies_where_the_runtime_puts_it(height, width):
    image = random_images(1, height, width)[0]
    box = (2, 1, width - 2, height - 1)
    result = letterboxed(Sample(image, np.array([box], np.float32), np.zeros(1, np.int64)), 64)
    fit = Letterbox.fit(width, height, 64)
    assert result.image.shape == (64, 64, 3)
    assert (result.image[fit.image_height :] == PADDING_VALUE).all()
    assert (result.image[:, fit.image_width :] == PADDING_VALUE).all()
    assert np.abs(result.boxes[:1] / fit.scale_x - box).max() <= 2 / fit.scale_x if len(result.boxes) else height == 7
    if fit.scale_x > 0.5:  # smaller ones are averaged here, so that nothing is skipped
        inside = np.s_[: fit.image_height, : fit.image_width]
        assert np.array_equal(result.image[inside], fit.apply(image)[inside])


def test_colours_change_a_little_and_grey_stays_grey():
    image = random_images(1)[0]
    changed = recoloured(image, rng(1))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert 1 < np.abs(changed.astype(int) - image).mean() < 60
    shades = recoloured(np.arange(0, 240, dtype=np.uint8).reshape(12, 20, 1).repeat(3, axis=2), rng(2))
    assert (shades == shades[..., :1]).all()


def test_variation_is_drawn_from_the_generator_alone():
    first = sample((5, 10, 30, 20))
    results = [varied(first, rng(seed)) for seed in (3, 3)]
    assert np.array_equal(results[0].image, results[1].image)
    mirrors = {float(varied(first, rng(seed)).boxes[0, 0]) for seed in range(12)}
    assert mirrors == {5.0, 50.0}


def test_the_given_sample_stays_as_it_is():
    first = sample((5, 10, 30, 20))
    before = first.image.copy(), first.boxes.copy()
    varied(first, rng()), letterboxed(first, 64), mosaic([first] * 4, 64, rng())
    assert np.array_equal(first.image, before[0])
    assert np.array_equal(first.boxes, before[1])


@pytest.mark.parametrize("seed", range(6))
def test_every_object_of_a_mosaic_is_where_its_box_says(seed):
    shades = (220, 225, 235, 245)  # further apart than interpolation blurs the middle of an object
    four = [sample((20, 15, 60, 45), shade=shade) for shade in shades]
    for i, one in enumerate(four):
        one.labels[:] = i
    result = mosaic(four, 128, rng(seed))
    assert result.image.shape == (128, 128, 3)
    assert len(result.boxes) >= 1
    for box, label in zip(result.boxes, result.labels.tolist(), strict=True):
        x, y = int(box[[0, 2]].mean()), int(box[[1, 3]].mean())
        assert abs(int(result.image[y, x, 0]) - shades[label]) <= 1
        assert box.min() >= 0
        assert box.max() <= 128


def test_a_mosaic_shows_all_four_images():
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    four = [Sample(np.full((64, 64, 3), shade, np.uint8), *nothing) for shade in (10, 20, 30, 40)]
    result = mosaic(four, 64, rng())
    assert {10, 20, 30, 40} <= set(np.unique(result.image).tolist())
    assert set(np.unique(result.image).tolist()) <= {10, 20, 30, 40, PADDING_VALUE}
    assert result.boxes.shape == (0, 4)


@pytest.mark.parametrize("seed", range(6))
def test_the_object_of_a_image_alone_is_where_its_box_says(seed):
    result = single(sample((20, 15, 60, 45)), 128, rng(seed))
    assert result.image.shape == (128, 128, 3)
    assert len(result.boxes) == 1
    assert np.abs(np.array(box_of(result.image)) - result.boxes[0]).max() <= 1


def test_a_image_alone_comes_at_several_sizes_and_places():
    results = [single(sample((20, 15, 60, 45)), 128, rng(seed)) for seed in range(12)]
    sizes = {float(r.boxes[0, 2] - r.boxes[0, 0]) for r in results}
    assert min(sizes) < 0.7 * 64 < 64 < max(sizes)  # at the square's size, the object is 64 pixels wide
    assert len({float(r.boxes[0, 0]) for r in results}) > 6
