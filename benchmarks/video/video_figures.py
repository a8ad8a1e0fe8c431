"""Bytes at equal fidelity: the split against its rivals over thirds of the range that it reaches. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np

from benchmarks.harness.rate_curve import RateCurve, front

OURS = "split against the last"
THIRDS = ("lower", "middle", "upper")


def curves_of(clip: Mapping[str, Any]) -> dict[str, RateCurve]:
    """Return each system's front of fidelity over bytes."""
    systems = dict.fromkeys(row["system"] for row in clip["rows"])
    return {name: _front([row for row in clip["rows"] if row["system"] == name]) for name in systems}


def ratios(clip: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what our bytes are of each rival's at equal fidelity, for each third of the range that both reach."""
    curves = curves_of(clip)
    ours = curves.pop(OURS, None)
    if ours is None or not ours.ap.size:
        return []
    rows = []
    for name, curve in curves.items():
        low, high = max(ours.ap[0], curve.ap[0]), min(ours.ap[-1], curve.ap[-1])
        borders = np.linspace(low, high, len(THIRDS) + 1)
        shares = [_ratio(ours, curve, a, b) for a, b in pairwise(borders)]
        rows.append(
            {"clip": clip["name"], "rival": name, "from": round(float(low), 1), "to": round(float(high), 1)}
            | dict(zip(THIRDS, shares, strict=True))
        )
    return rows


def _ratio(ours: RateCurve, rival: RateCurve, low: float, high: float) -> float | None:
    if not high > low:
        return None
    return round(exp(ours.mean_log_bytes(low, high) - rival.mean_log_bytes(low, high)), 3)


def _front(rows: Sequence[Mapping[str, Any]]) -> RateCurve:
    return front(np.array([row["bytes_mean"] for row in rows]), np.array([row["fidelity"] for row in rows]))
