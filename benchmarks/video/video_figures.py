"""Bytes at equal fidelity: the split against its rivals over thirds of the range that it reaches. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np

from benchmarks.harness.rate_curve import RateCurve, bd_rate, front

OURS, ALONE = "split against the last", "split alone"
ALL_RIVALS = "the best of all"  # the lower envelope of whatever is not ours
THIRDS = ("lower", "middle", "upper")


def curves_of(clip: Mapping[str, Any], measure: str = "fidelity") -> dict[str, RateCurve]:
    """Return each system's front of a measure over bytes."""
    systems = dict.fromkeys(row["system"] for row in clip["rows"])
    return {name: _front([row for row in clip["rows"] if row["system"] == name], measure) for name in systems}


def ratios(clip: Mapping[str, Any], measure: str = "fidelity") -> list[dict[str, Any]]:
    """Return what our bytes are of each rival's at equal fidelity, for each third of the range that both reach.

    bd_rate: over all of that range, in percent more bytes (Bjontegaard).
    """
    curves = curves_of(clip, measure)
    ours = curves.pop(OURS, None)
    if ours is None or not ours.ap.size:
        return []
    curves[ALL_RIVALS] = _front([row for row in clip["rows"] if row["system"] not in (OURS, ALONE)], measure)
    rows = []
    for name, curve in curves.items():
        if not curve.ap.size:
            continue
        low, high = max(ours.ap[0], curve.ap[0]), min(ours.ap[-1], curve.ap[-1])
        borders = np.linspace(low, high, len(THIRDS) + 1)
        shares = [_ratio(ours, curve, a, b) for a, b in pairwise(borders)]
        whole = bd_rate(ours, curve)
        rows.append(
            {"clip": clip["name"], "rival": name, "from": round(float(low), 1), "to": round(float(high), 1)}
            | dict(zip(THIRDS, shares, strict=True))
            | {"bd_rate": None if whole is None else round(whole.percent, 1)}
        )
    return rows


def _ratio(ours: RateCurve, rival: RateCurve, low: float, high: float) -> float | None:
    if not high > low:
        return None
    return round(exp(ours.mean_log_bytes(low, high) - rival.mean_log_bytes(low, high)), 3)


def _front(rows: Sequence[Mapping[str, Any]], measure: str) -> RateCurve:
    sizes = np.array([row["bytes_mean"] for row in rows], float)
    return front(np.maximum(sizes, 1.0), np.array([row[measure] for row in rows], float))
