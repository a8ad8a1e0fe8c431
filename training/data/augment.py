"""Labelled images changed at random: mirrored, recoloured, scaled into a window. Pure: draws come as a generator.

No rotation and no shear: the upright box around a turned box is too large, and teaches that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.letterbox import PADDING_VALUE

MIN_VISIBLE = 0.2  # share of a box's area that must still be seen for it to count
MIN_SIDE = 2.0  # pixels of a box, on the training square
# Largest change of hue in degrees, of saturation and of value as a share, of which a part is drawn.
HUE, SATURATION, VALUE = 10.0, 0.3, 0.3

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image (h, w, 3) BGR uint8 with boxes (n, 4) xyxy in its pixels float32 and labels (n,) int64."""

    image: Image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def grey(height: int, width: int) -> Image:
    """Return an image of nothing."""
    return np.full((height, width, 3), PADDING_VALUE, np.uint8)


def mirrored(sample: Sample) -> Sample:
    """Return left and right exchanged."""
    width = sample.image.shape[1]
    left, top, right, bottom = sample.boxes.T
    boxes = np.stack((width - right, top, width - left, bottom), axis=1)
    return replace(sample, image=np.ascontiguousarray(sample.image[:, ::-1]), boxes=boxes)


def recoloured(image: Image, rng: np.random.Generator) -> Image:
    """Return an image with another hue, saturation and value (HSV), by tables of 256 entries."""
    hue, saturation, value = rng.uniform(-1, 1, 3) * (HUE / 2, SATURATION, VALUE)  # OpenCV's hue is in half degrees
    levels = np.arange(256)
    tables = (
        (levels + round(hue)) % 180,
        (levels * (1 + saturation)).clip(0, 255),
        (levels * (1 + value)).clip(0, 255),
    )
    table = np.stack(tables, axis=1).astype(np.uint8)[None]
    changed = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), table)
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2BGR), np.uint8)


def scaled(sample: Sample, scale: float) -> Sample:
    """Return an image and its boxes larger or smaller; at least a pixel a side is left."""
    height, width = sample.image.shape[:2]
    size = max(1, int(width * scale)), max(1, int(height * scale))
    interpolation = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR  # the latter skips pixels when it shrinks a lot
    image = np.asarray(cv2.resize(sample.image, size, interpolation=interpolation), np.uint8)
    factors = np.array((size[0] / width, size[1] / height) * 2, np.float32)
    return replace(sample, image=image, boxes=sample.boxes * factors)


def window(sample: Sample, x: int, y: int, width: int, height: int) -> Sample:
    """Return a part that lies inside the image, without the boxes of which too little is seen."""
    moved = sample.boxes - np.array((x, y, x, y), np.float32)
    clipped = moved.clip(0, np.array((width, height) * 2, np.float32))
    keep = visible(moved, clipped)
    return Sample(sample.image[y : y + height, x : x + width], clipped[keep], sample.labels[keep])


def visible(whole: NDArray[np.float32], seen: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say of which boxes (n, 4) enough is seen after clipping."""
    sides = seen[:, 2:] - seen[:, :2]
    areas = (whole[:, 2:] - whole[:, :2]).prod(axis=1)
    enough = sides.prod(axis=1) >= MIN_VISIBLE * areas
    return np.asarray(enough & (sides >= MIN_SIDE).all(axis=1))


def letterboxed(sample: Sample, square: int) -> Sample:
    """Return an image scaled to touch a square on its longer side, at the top left on grey: as frames come later."""
    height, width = sample.image.shape[:2]
    fitted = scaled(sample, min(square / height, square / width))
    canvas = grey(square, square)
    canvas[: fitted.image.shape[0], : fitted.image.shape[1]] = fitted.image
    keep = visible(fitted.boxes, fitted.boxes)
    return Sample(canvas, fitted.boxes[keep], fitted.labels[keep])


def filling(sample: Sample, square: int) -> Sample:
    """Return a picture stretched to a square, as frames come later to a detector that wants them so."""
    height, width = sample.image.shape[:2]
    picture = np.asarray(cv2.resize(sample.image, (square, square), interpolation=cv2.INTER_LINEAR), np.uint8)
    boxes = sample.boxes * np.array((square / width, square / height) * 2, np.float32)
    keep = visible(boxes, boxes)
    return Sample(picture, boxes[keep], sample.labels[keep])


def varied(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return a sample recoloured, and mirrored half of the times."""
    changed = replace(sample, image=recoloured(sample.image, rng))
    return mirrored(changed) if rng.random() < 0.5 else changed
