"""The agreement of two ways of computing a network, as a user would see it: by their detections. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitnet.detections import SCORE_THRESHOLD, Detections

MIN_IOU = 0.5  # of two boxes that are the same object, as COCO counts it first
SURE = 1.2  # times the threshold: what scores less may fall on either side of it by a rounding
MIN_SURE = 30  # detections that say something; with fewer a lower threshold is looked at as well
THRESHOLDS = (SCORE_THRESHOLD, 0.05, 0.01, 0.002)  # so low, even images without objects have detections


def above(found: Sequence[Detections], threshold: float) -> list[Detections]:
    """Return what scores above a threshold, of what was found above a lower one."""
    kept = [one.scores > threshold for one in found]
    return [
        Detections(one.boxes[keep], one.scores[keep], one.labels[keep]) for one, keep in zip(found, kept, strict=True)
    ]


def sure_of(found: Sequence[Detections], threshold: float) -> int:
    """Return how many detections are clearly above a threshold."""
    return sum(int((one.scores >= SURE * threshold).sum()) for one in found)


def fidelity(plain: Sequence[Detections], other: Sequence[Detections], threshold: float) -> float:
    """Return the share of what either way is sure of that the other way finds, too; 1 if nobody is sure of anything.

    Both have what they found in the same images, above any lower threshold.
    """
    plain, other = above(plain, threshold), above(other, threshold)
    pairs = [*zip(plain, other, strict=True), *zip(other, plain, strict=True)]
    sure = sure_of(plain, threshold) + sure_of(other, threshold)
    missed = sum(_missed(mine, theirs, threshold) for mine, theirs in pairs)
    return 1.0 - missed / sure if sure else 1.0


def telling_threshold(plain: Sequence[Detections]) -> float:
    """Return the threshold that users see; where too little is found, the highest of the lower ones with enough."""
    enough = (threshold for threshold in THRESHOLDS if sure_of(plain, threshold) >= MIN_SURE)
    return next(enough, THRESHOLDS[-1])


def _missed(mine: Detections, theirs: Detections, threshold: float) -> int:
    """Return how many sure detections of one way have no counterpart of the same class in the other."""
    is_same = (_iou(mine.boxes, theirs.boxes) >= MIN_IOU) & (mine.labels[:, None] == theirs.labels[None])
    return int(((mine.scores >= SURE * threshold) & ~is_same.any(axis=1)).sum())


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the overlap (n, m) of boxes (n, 4) and (m, 4), xyxy, taken a pixel larger: a line overlaps with itself."""
    sides = 1 + np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = sides.clip(min=0).prod(axis=2)
    areas = [(1 + boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    overlap: NDArray[np.float32] = common / (areas[0][:, None] + areas[1][None] - common)
    return overlap
