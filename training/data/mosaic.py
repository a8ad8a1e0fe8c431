"""Images cut off and of all sizes in one square: four (Bochkovskiy et al., arXiv 2004.10934), or one alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.data.augment import Sample, grey, scaled, window

# An image that just fits the square has scale 1; each of the four gets a scale of its own.
MIN_SCALE, MAX_SCALE = 0.5, 1.5
# The four meet somewhere in the middle half of the square.
FIRST_CENTRE, LAST_CENTRE = 0.25, 0.75


def mosaic(samples: Sequence[Sample], square: int, rng: np.random.Generator) -> Sample:
    """Return a square of four samples that meet in a point: top left, top right, bottom left, bottom right.

    An image larger than its quarter shows a random part of itself; a smaller one touches the meeting point.
    """
    assert len(samples) == 4
    centre_x, centre_y = (round(square * v) for v in rng.uniform(FIRST_CENTRE, LAST_CENTRE, 2))
    canvas = grey(square, square)
    parts = []
    for i, sample in enumerate(samples):
        is_right, is_low = bool(i % 2), bool(i // 2)
        width = square - centre_x if is_right else centre_x
        height = square - centre_y if is_low else centre_y
        part = _part(sample, square, width, height, rng)
        high, wide = part.image.shape[:2]
        x = centre_x if is_right else centre_x - wide
        y = centre_y if is_low else centre_y - high
        canvas[y : y + high, x : x + wide] = part.image
        parts.append((part.boxes + np.array((x, y, x, y), np.float32), part.labels))
    boxes, labels = zip(*parts, strict=True)
    return Sample(canvas, np.concatenate(boxes), np.concatenate(labels))


def single(sample: Sample, square: int, rng: np.random.Generator) -> Sample:
    """Return a square with a random part of one sample at a random size, somewhere on grey."""
    part = _part(sample, square, square, square, rng)
    high, wide = part.image.shape[:2]
    x, y = int(rng.integers(square - wide + 1)), int(rng.integers(square - high + 1))
    canvas = grey(square, square)
    canvas[y : y + high, x : x + wide] = part.image
    return Sample(canvas, part.boxes + np.array((x, y, x, y), np.float32), part.labels)


def _part(sample: Sample, square: int, width: int, height: int, rng: np.random.Generator) -> Sample:
    """Return a random part of a randomly scaled image, of at most that size in pixels."""
    fit = square / max(sample.image.shape[:2])
    larger = scaled(sample, fit * np.exp(rng.uniform(np.log(MIN_SCALE), np.log(MAX_SCALE))))
    high, wide = larger.image.shape[:2]
    x = int(rng.integers(max(0, wide - width) + 1))
    y = int(rng.integers(max(0, high - height) + 1))
    return window(larger, x, y, min(wide, width), min(high, height))
