"""The figures of the kinds benchmark: AP at equal computation and bytes, the price of one training for all. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.harness.rate_curve import RateCurve, front
from splitnet.measured_point import MeasuredPoint

TOLERANCE = 1.03  # channels are whole numbers: a width may cost so much more than what it is compared at

Row = dict[str, object]


@dataclass(frozen=True)
class Split:
    """A bundle and the points measured of it."""

    name: str
    kind: str
    points: tuple[MeasuredPoint, ...]

    @property
    def mmacs(self) -> tuple[float, ...]:
        """What its widths cost, rising."""
        return tuple(sorted({point.mmacs for point in self.points}))

    def curve(self, mmacs: float) -> RateCurve | None:
        """Return the front of what costs the device so much at most, over the bytes; None if nothing is so cheap."""
        within = [point for point in self.points if point.mmacs <= TOLERANCE * mmacs]
        if not within:
            return None
        return front(np.array([p.bytes_mean for p in within]), np.array([p.ap for p in within]))

    def ap_at(self, mmacs: float, size_bytes: float) -> float | None:
        """Return the best AP for so much computation and so many bytes; None if it cannot be so cheap or so small."""
        curve = self.curve(mmacs)
        ap = math.nan if curve is None else curve.ap_at(size_bytes)
        return None if math.isnan(ap) else round(ap, 2)

    def row(self) -> Row:
        """Return over which range of computation and bytes it goes."""
        sizes, costs = [point.bytes_mean for point in self.points], self.mmacs
        return {
            "bundle": self.name,
            "kind": self.kind,
            "widths": len(costs),
            "mmacs_from": costs[0],
            "mmacs_to": costs[-1],
            "mmacs_ratio": round(costs[-1] / costs[0], 2),
            "bytes_from": min(sizes),
            "bytes_to": max(sizes),
            "bytes_ratio": round(max(sizes) / min(sizes), 2),
        }


def equal_rows(splits: Sequence[Split], sizes_bytes: Iterable[float]) -> list[Row]:
    """Return the AP of every split, by its name, for each cost of the first one's widths and each size."""
    sizes = sorted(sizes_bytes)
    return [
        {"mmacs": mmacs, "bytes": size, **{split.name: split.ap_at(mmacs, size) for split in splits}}
        for mmacs in splits[0].mmacs
        for size in sizes
    ]


def alone_rows(splits: Iterable[Split], alone: Sequence[Split]) -> list[Row]:
    """Return for points that were trained alone what splits of the same kind lose at their computation and bytes."""
    return [
        _alone_row(split, one.name, point)
        for split in splits
        for one in alone
        if one.kind == split.kind
        for point in one.points
    ]


def _alone_row(split: Split, name: str, point: MeasuredPoint) -> Row:
    ap = split.ap_at(point.mmacs, point.bytes_mean)
    return {
        "alone": name,
        "bundle": split.name,
        "mmacs": point.mmacs,
        "bytes": point.bytes_mean,
        "ap_alone": round(point.ap, 2),
        "ap": ap,
        "loss": None if ap is None else round(point.ap - ap, 2),
    }
