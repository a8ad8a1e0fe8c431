"""Curves of accuracy over bytes, and how far apart two of them are (Bjontegaard, VCEG-M33, 2001). Pure.

A curve is a front: its points ordered by bytes, each more accurate than all before it. Between points it is straight
over the logarithm of the bytes. Bjontegaard drew one cubic through four points; through many noisy ones a
cubic swings, and straight lines give the same area.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RateCurve:
    """A front. log_bytes and ap (n,), both rising."""

    log_bytes: Floats
    ap: Floats

    def ap_at(self, size_bytes: float) -> float:
        """Return the best AP that can be had for so many bytes; NaN below the smallest point."""
        if not self.ap.size or log(size_bytes) < self.log_bytes[0]:
            return float("nan")
        return float(np.interp(log(size_bytes), self.log_bytes, self.ap))

    def mean_log_bytes(self, ap_from: float, ap_to: float) -> float:
        """Return the mean of log(bytes) over a range of AP inside the curve's."""
        inside = self.ap[(self.ap > ap_from) & (self.ap < ap_to)]
        aps = np.concatenate(([ap_from], inside, [ap_to]))
        values = np.interp(aps, self.ap, self.log_bytes)
        return float(np.sum(np.diff(aps) * (values[1:] + values[:-1]) / 2) / (ap_to - ap_from))


@dataclass(frozen=True)
class BdRate:
    """How many more bytes one curve takes than another at equal AP, and over which AP that holds."""

    percent: float  # negative: fewer
    ap_from: float
    ap_to: float


def front(sizes_bytes: Floats, ap: Floats) -> RateCurve:
    """Return the points (n,) that no other point beats with fewer bytes."""
    order = np.lexsort((-ap, sizes_bytes))
    before = np.concatenate(([-np.inf], np.maximum.accumulate(ap[order])[:-1]))
    kept = order[ap[order] > before]
    return RateCurve(np.log(sizes_bytes[kept]), ap[kept])


def bd_rate(curve: RateCurve, rival: RateCurve) -> BdRate | None:
    """Return what a curve takes in bytes compared with a rival, over the AP that both reach; None if there is none."""
    if not curve.ap.size or not rival.ap.size:
        return None
    ap_from = float(max(curve.ap[0], rival.ap[0]))
    ap_to = float(min(curve.ap[-1], rival.ap[-1]))
    if ap_to <= ap_from:
        return None
    difference = curve.mean_log_bytes(ap_from, ap_to) - rival.mean_log_bytes(ap_from, ap_to)
    return BdRate(100 * (exp(difference) - 1), ap_from, ap_to)
