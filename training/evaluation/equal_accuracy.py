"""The bytes that image codecs need for the accuracy of a split point, in one sentence. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import Mode


def conclusion(points: Sequence[MeasuredPoint]) -> str | None:
    """Return how many bytes each image codec needs for the AP of the best split point; None if one is missing."""
    split = [point for point in points if point.mode is Mode.SPLIT]
    codecs = list(dict.fromkeys(point.codec for point in points if point.mode is Mode.IMAGE))
    if not split or not codecs:
        return None
    best = max(split, key=lambda point: (point.ap, -point.bytes_mean))
    needs = []
    for codec in codecs:
        needed = bytes_for(best.ap, [point for point in points if point.codec is codec])
        name = "JPEG" if codec.name == "JPEG" else "WebP"
        needs.append(f"{name} does not reach it" if needed is None else f"{name} needs {needed / 1e3:.1f} KB for it")
    return f"{best.point} gives AP {best.ap:.1f} with {best.bytes_mean / 1e3:.1f} KB a frame; {', '.join(needs)}."


def bytes_for(ap: float, points: Sequence[MeasuredPoint]) -> float | None:
    """Return the mean bytes at which points reach an AP; None if they do not.

    Between two points the AP rises with the logarithm of the bytes. Below the smallest point nothing is known, so that
    one's bytes are returned.
    """
    before: MeasuredPoint | None = None
    for point in sorted(points, key=lambda one: one.bytes_mean):
        if point.ap >= ap:
            if before is None:
                return point.bytes_mean
            share = (ap - before.ap) / (point.ap - before.ap)
            low, high = math.log(before.bytes_mean), math.log(point.bytes_mean)
            return math.exp(low + share * (high - low))
        if before is None or point.ap > before.ap:
            before = point
    return None
