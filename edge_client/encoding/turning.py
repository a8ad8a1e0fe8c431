"""A camera that turns: the picture is laid onto its canvas so that the scene moves by whole positions of the latent.

A latent follows the picture only where that moves by a whole position (16 pixels): parts of one change nearly every
symbol, and no filter on the symbols brings them back (docs/video.md). So the device finds out how far the scene has
moved since the frame that is built on, and moves the picture by what is missing to whole positions: 8 pixels at most.
The server knows nothing of it; the device moves the answer's boxes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_client.encoding.pan_search import MAX_SHIFT, Shift
from edge_client.frames import Image
from splitnet.codec.references import Reference
from splitnet.letterbox import LATENT_STRIDE

TURNING = 0.5  # of the positions have changed: perhaps because the camera turns
PATIENCE = 8  # frames in which nothing has moved, until nobody looks any more
PAUSE = 40  # frames, after those
LEAST_PX = 0.5  # of the canvas: less is no motion
CERTAIN = 0.5  # of 1: below, two frames show no common scene
PARTS = 6  # of a thumbnail, in both directions
NOISE = 2.0  # grey levels: parts that differ less say nothing
EXPLAINED = 0.8  # of a part's difference is left at most if a motion is its own
MOST = 0.7  # of the telling parts move with a camera that turns
LEAST_SIDE = 16  # pixels of a thumbnail: a line has no motion that can be told
THUMBNAIL = 2  # pixels of the canvas for each of a thumbnail, in both directions

Offset = tuple[float, float]  # pixels of the canvas, right and down
AT_REST: Offset = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a frame's picture lies, and what has moved since the frame that it builds on."""

    offset: Offset = AT_REST
    shift: Shift | None = None  # positions; None: not as a whole, as far as anybody knows
    thumbnail: NDArray[np.float32] | None = None  # of the picture where it always lies


class TurningCamera:
    """Where to lay the frames of one camera. One thread at a time."""

    def __init__(self) -> None:
        self._left = 0  # frames that are still looked at
        self._pause = 0  # frames until one may be looked at again
        self._placed: WeakKeyDictionary[Reference, Placement] = WeakKeyDictionary()

    def place(self, picture: Image, base: Reference | None) -> Placement:
        """Return where a picture (h, w, 3), scaled as it lies on the canvas, goes. base: what it may build on."""
        self._pause = max(0, self._pause - 1)
        if not self._left:
            return Placement()
        thumbnail = _thumbnail(picture)
        before = None if base is None else self._placed.get(base)
        if before is None or before.thumbnail is None or before.thumbnail.shape != thumbnail.shape:
            return Placement(thumbnail=thumbnail)
        motion = _motion(before.thumbnail, thumbnail)
        moves = motion is not None and motion != AT_REST
        self._left = PATIENCE if moves else self._left - 1
        if not self._left:
            self._pause = PAUSE
        if motion is None or not self._left:
            return Placement(thumbnail=thumbnail if self._left else None)
        right, down = (_whole(moved, offset) for moved, offset in zip(motion, before.offset, strict=True))
        return Placement((right[1], down[1]), (down[0], right[0]) if moves else None, thumbnail)

    def coded(self, reference: Reference | None, placement: Placement, changed: float) -> None:
        """Learn what a frame leaves behind, and what share of its positions had changed."""
        if reference is not None and (placement.thumbnail is not None or placement.offset != AT_REST):
            self._placed[reference] = placement
        if changed > TURNING and not (self._left or self._pause):
            self._left = PATIENCE

    def offset_of(self, reference: Reference | None) -> Offset:
        """Return where the picture of an earlier frame lay."""
        placed = None if reference is None else self._placed.get(reference)
        return AT_REST if placed is None else placed.offset


def _whole(moved: float, offset: float) -> tuple[int, float]:
    """Return by how many positions a scene is to move, and the offset that makes it so, for its own motion in pixels.

    offset: of the frame that is built on.
    """
    positions = round((moved - offset) / LATENT_STRIDE)
    positions = max(-MAX_SHIFT, min(MAX_SHIFT, positions))
    return positions, LATENT_STRIDE * positions - (moved - offset)


def _thumbnail(picture: Image) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    size = max(1, width // THUMBNAIL), max(1, height // THUMBNAIL)
    grey: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def _motion(before: NDArray[np.float32], now: NDArray[np.float32]) -> Offset | None:
    """Return how far a scene has moved between two thumbnails, in pixels of the canvas; None if nobody can tell."""
    if min(now.shape) < LEAST_SIDE:
        return None
    weights = _window(*now.shape)  # not given to phaseCorrelate, which would change its input
    (right, down), certainty = cv2.phaseCorrelate(before * weights, now * weights)
    if not certainty >= CERTAIN:
        return None
    if THUMBNAIL * max(abs(right), abs(down)) < LEAST_PX or not _explains(right, down, before, now):
        return AT_REST
    return THUMBNAIL * right, THUMBNAIL * down


def _explains(right: float, down: float, before: NDArray[np.float32], now: NDArray[np.float32]) -> bool:
    """Return whether most parts of a thumbnail are much more alike if the first one is moved so far.

    All parts of a picture move with the camera. A lorry that passes moves some, and the others would be moved wrongly.
    """
    way = np.array([[1, 0, right], [0, 1, down]])
    moved = cv2.warpAffine(before, way, now.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    left, difference = _by_parts(np.abs(now - moved)), _by_parts(np.abs(now - before))
    telling = np.maximum(left, difference) > NOISE
    explained = telling & (left < EXPLAINED * difference)
    return bool(explained.sum() >= MOST * max(1, telling.sum()))


def _by_parts(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each of PARTS x PARTS parts of a thumbnail."""
    return np.asarray(cv2.resize(difference, (PARTS, PARTS), interpolation=cv2.INTER_AREA))


@cache
def _window(height: int, width: int) -> NDArray[np.float32]:
    """Return weights that leave a thumbnail no edges, which would be a cross in its spectrum."""
    rows, columns = np.hanning(height + 2)[1:-1, None], np.hanning(width + 2)[1:-1]
    return np.asarray(rows * columns, np.float32)
