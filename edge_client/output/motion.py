"""Boxes between answers, moved on as their centres have moved from one answer to the next. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.detections import Detections

LEAST_OVERLAP = 0.3  # intersection over union from which on two boxes of a class are the same object
BELIEVED = 0.5  # of a speed: a part of every small move is the detector's trembling (docs/video.md)
LONGEST_S = 0.5  # that boxes are moved on after the last answer; later ones say nothing
OLDEST_S = 1.0  # between two answers that a velocity is taken from


@dataclass(frozen=True)
class _Answer:
    at: float  # seconds, when its frame was captured
    found: Detections


class Motion:
    """What the last two answers say of the moments after them. Answers may come in any order."""

    def __init__(self) -> None:
        self._last: _Answer | None = None
        self._velocity: NDArray[np.float32] = np.zeros((0, 4), np.float32)  # of the last boxes, in pixels a second

    def answered(self, capture_time: float, found: Detections) -> None:
        """Learn what was found in a frame; one that is older than the last is ignored."""
        before = self._last
        if before is not None and capture_time <= before.at:
            return
        self._velocity = np.zeros_like(found.boxes)
        if before is not None and capture_time - before.at <= OLDEST_S:
            same = matched(before.found, found)
            moved = found.boxes[same >= 0] - before.found.boxes[same[same >= 0]]
            centres = (moved[:, :2] + moved[:, 2:]) / 2
            self._velocity[same >= 0] = np.tile(centres, 2) * np.float32(BELIEVED / (capture_time - before.at))
        self._last = _Answer(capture_time, found)

    def at(self, capture_time: float, width: int, height: int) -> Detections | None:
        """Return where the objects are expected in a frame of a size in pixels; None if that is too far ahead."""
        last = self._last
        if last is None or not 0 <= capture_time - last.at <= LONGEST_S:
            return None
        boxes = last.found.boxes + self._velocity * np.float32(capture_time - last.at)
        boxes = np.clip(boxes, 0, np.array([width, height] * 2, np.float32))
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        found = last.found
        return Detections(boxes[inside], found.scores[inside], found.labels[inside])


def matched(before: Detections, after: Detections) -> NDArray[np.intp]:
    """Return for each later box (n,) which earlier one of its class it is, or -1: the best overlaps first."""
    same = np.full(len(after.boxes), -1, np.intp)
    overlap = _overlap(after.boxes, before.boxes) * (after.labels[:, None] == before.labels[None])
    while overlap.size and overlap.max() >= LEAST_OVERLAP:
        row, column = np.unravel_index(int(np.argmax(overlap)), overlap.shape)
        same[row] = column
        overlap[row], overlap[:, column] = 0.0, 0.0
    return same


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union (n, m) of boxes (n, 4) and (m, 4) xyxy."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0), np.float32)
