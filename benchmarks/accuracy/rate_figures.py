"""The figures of the rate benchmark: a row a point, the bytes saved at equal AP, the AP gained at equal bytes.

Every figure comes with its 95 % interval, `low` and `high`. That of a difference is of the difference itself: two
curves are compared in each resample.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.resampling import Sample
from benchmarks.harness.bootstrap import interval
from benchmarks.harness.rate_curve import RateCurve, bd_rate, front

ANY = "any width"  # the curve of the best of all widths: rivals stand with the best of all their settings, too
KILOBYTES = (0.5, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0)
Row = dict[str, object]


@dataclass(frozen=True, eq=False)
class Measured:
    """One point: what it is, what it costs and what it came to."""

    curve: str  # "w4", or the image codec
    setting: str  # "split", or the image codec with its settings
    size: int  # longer side of what travels, pixels
    quality: int
    bytes_p90: float
    encode_ms_p50: float
    mmacs: float
    sample: Sample

    def row(self) -> Row:
        """Return the figures for people and JSON."""
        low, high = interval(self.sample.ap)
        return {
            "curve": self.curve,
            "setting": self.setting,
            "size": self.size,
            "quality": self.quality,
            "ap": _rounded(self.sample.ap[0]),
            "ap_low": _rounded(low),
            "ap_high": _rounded(high),
            "ap50": _rounded(self.sample.ap50[0]),
            "bytes_mean": round(float(self.sample.bytes_mean[0]), 1),
            "bytes_p90": round(self.bytes_p90, 1),
            "encode_ms_p50": round(self.encode_ms_p50, 3),
            "mmacs": round(self.mmacs, 2),
        }


def rivals_of(points: Sequence[Measured]) -> list[str]:
    """Return the curves that are no widths of the bundle, in the order in which they were measured."""
    return list(dict.fromkeys(point.curve for point in points if point.setting != "split"))


def points_of(points: Iterable[Measured], curve: str) -> list[Measured]:
    """Return the points of a curve; of all widths for ANY."""
    return [point for point in points if (point.setting == "split" if curve == ANY else point.curve == curve)]


def bd_rows(points: Sequence[Measured], curves: Sequence[str]) -> list[Row]:
    """Return the BD-rate of each curve against each rival, at any size and at the detector's only.

    Each rival stands with the best of all its settings. A row has None where curves share no AP.
    """
    full = max(point.size for point in points)
    rows: list[Row] = []
    for curve in curves:
        own = fronts(points_of(points, curve))
        for codec in rivals_of(points):
            rival = [point for point in points if point.curve == codec]
            for sizes, chosen in (("any", rival), (str(full), [point for point in rival if point.size == full])):
                rows.append({"curve": curve, "rival": codec, "sizes": sizes, **_bd_figures(own, fronts(chosen))})
    return rows


def _bd_figures(own: Sequence[RateCurve], rival: Sequence[RateCurve]) -> Row:
    found = [bd_rate(a, b) for a, b in zip(own, rival, strict=True)]
    ratios = np.array([np.nan if one is None else 1 + one.percent / 100 for one in found])
    ends = interval(np.log(ratios))  # of ratios, the logarithms have deviations that can be turned round
    low, high = (None if end is None else 100 * (float(np.exp(end)) - 1) for end in ends)
    measured = found[0]
    return {
        "bd_rate_percent": None if measured is None else _rounded(measured.percent),
        "low": _rounded(low),
        "high": _rounded(high),
        "ap_from": None if measured is None else _rounded(measured.ap_from),
        "ap_to": None if measured is None else _rounded(measured.ap_to),
    }


def lead_rows(points: Sequence[Measured], curves: Sequence[str]) -> list[Row]:
    """Return the AP of each curve at some sizes in KB, and how far it leads each codec's best at the same bytes.

    None where a codec cannot get so small.
    """
    rows: list[Row] = []
    for curve in curves:
        own = fronts(points_of(points, curve))
        for codec in rivals_of(points):
            rival = fronts(point for point in points if point.curve == codec)
            rows += [{"curve": curve, "rival": codec, **_lead_figures(own, rival, size)} for size in KILOBYTES]
    return [row for row in rows if row["ap"] is not None]


def _lead_figures(own: Sequence[RateCurve], rival: Sequence[RateCurve], kilobytes: float) -> Row:
    ap, rival_ap = (np.array([one.ap_at(1000 * kilobytes) for one in curves]) for curves in (own, rival))
    (ap_low, ap_high), (low, high) = interval(ap), interval(ap - rival_ap)
    return {
        "kilobytes": kilobytes,
        "ap": _rounded(ap[0]),
        "ap_low": _rounded(ap_low),
        "ap_high": _rounded(ap_high),
        "rival_ap": _rounded(rival_ap[0]),
        "lead": _rounded(ap[0] - rival_ap[0]),
        "low": _rounded(low),
        "high": _rounded(high),
    }


def fronts(points: Iterable[Measured]) -> list[RateCurve]:
    """Return the front of some points in each resample, the measured one first."""
    samples = [point.sample for point in points]
    sizes: NDArray[np.float64] = np.array([sample.bytes_mean for sample in samples])
    ap: NDArray[np.float64] = np.array([sample.ap for sample in samples])
    return [front(sizes[:, i], ap[:, i]) for i in range(sizes.shape[1])]


def _rounded(value: float | None) -> float | None:
    """Return a figure as JSON takes it."""
    return None if value is None or not np.isfinite(value) else round(float(value), 2)
