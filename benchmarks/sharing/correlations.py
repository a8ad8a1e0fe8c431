"""How well a measure says beforehand what a merge will cost: correlations with bootstrap intervals. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0
FEWEST = 5  # merges from which on a correlation says something


@dataclass(frozen=True)
class Correlation:
    """Of a measure with what was kept of the accuracy; the interval is Pearson's."""

    pearson: float
    low: float
    high: float
    spearman: float
    spearman_low: float
    spearman_high: float
    merges: int


def correlate(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Return how x and y go together; None if there are too few, or one of them is always the same."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    kept = np.isfinite(a) & np.isfinite(b)
    a, b = a[kept], b[kept]
    if len(a) < FEWEST or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return None
    draws = np.random.default_rng(SEED).integers(0, len(a), (RESAMPLES, len(a)))
    linear = np.array([pearson(a[one], b[one]) for one in draws])
    ranked = np.array([pearson(ranks(a[one]), ranks(b[one])) for one in draws])
    low, high = _interval(linear)
    return Correlation(pearson(a, b), low, high, pearson(ranks(a), ranks(b)), *_interval(ranked), len(a))


def pearson(a: Floats, b: Floats) -> float:
    """Return Pearson's correlation; not a number if one of both does not vary."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def ranks(values: Floats) -> Floats:
    """Return ranks from 1 on; equal values have the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)


def correlations(merges: Sequence[Mapping[str, Any]], target: str) -> list[dict[str, Any]]:
    """Return each measure's correlation with a figure of the merges: of all, and within each group."""
    groups = ["all", *dict.fromkeys(merge["group"] for merge in merges)]
    metrics = dict.fromkeys(name for merge in merges for name in merge["similarity"])
    rows = []
    for metric in metrics:
        for group in groups:
            own = [merge for merge in merges if group in ("all", merge["group"])]
            values = [merge["similarity"].get(metric) for merge in own]
            found = correlate([_number(value) for value in values], [_number(merge[target]) for merge in own])
            if found is not None:
                rows.append({"metric": metric, "group": group, "target": target, **vars(found)})
    return rows


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _interval(values: Floats) -> tuple[float, float]:
    rest = (1 - CONFIDENCE) / 2
    found = values[np.isfinite(values)]
    return (float(np.quantile(found, rest)), float(np.quantile(found, 1 - rest))) if len(found) else (-1.0, 1.0)
