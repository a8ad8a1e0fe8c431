"""The adaptation benchmark over all links together, with intervals, and what it was to reach. Pure.

A *place* is a link on a device at a frame rate by a deadline. *The best fixed point* is another one at each place: the
one with the most accuracy there, known only afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.adaptation.summary import (
    GREEDY_ORACLE,
    LAYERED,
    OPTIMUM,
    OURS,
    SPECIAL,
    Place,
    Row,
    place_of,
)

BEST_FIXED = "best-fixed"
SEGMENT_S = 10.0
RESAMPLES = 1000
SEED = 11
EQUAL_AP = 0.2  # fixed points within this of the controller count as of equal accuracy
FOR_LAYERS = ("ATT-LTE-driving", "TMobile-UMTS-driving")

Group = Mapping[str, Row]  # the rows of one place by policy


def grouped(rows: Sequence[Row]) -> dict[Place, dict[str, Row]]:
    """Return the rows of each place by their policies, the best fixed point with them."""
    groups: dict[Place, dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(place_of(row), {})[row["policy"]] = row
    for group in groups.values():
        fixed = [row for name, row in group.items() if name not in SPECIAL]
        if fixed:
            best = max(fixed, key=lambda row: float(row["ap"]))
            group[BEST_FIXED] = {**best, "policy": BEST_FIXED, "point": best["policy"]}
    return groups


def pooled(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a row for each device, frame rate, deadline and policy: the mean over links, and the controller's lead.

    rows: with "segments", what the frames of each SEGMENT_S were worth. About the lead lies a 95 % interval, as
    wide as that of the mean worth over segments that are drawn with replacement (bootstrap percentiles).
    """
    groups = grouped(rows)
    cells = dict.fromkeys((place[1:], policy) for place, group in groups.items() for policy in (*SPECIAL, BEST_FIXED))
    made = [_pooled(cell, policy, [g for p, g in groups.items() if p[1:] == cell]) for cell, policy in cells]
    return [row for row in made if row is not None]


def _pooled(cell: tuple[float, ...], policy: str, groups: Sequence[Group]) -> dict[str, Any] | None:
    own = [group for group in groups if policy in group and OURS in group]
    if not own:
        return None
    slowdown, fps, deadline_ms = cell
    rows = [group[policy] for group in own]
    differences = [
        ours - theirs
        for group in own
        for ours, theirs in zip(group[OURS]["segments"], group[policy]["segments"], strict=True)
    ]
    lead = _mean([group[OURS] for group in own], "ap") - _mean(rows, "ap")
    low, high = (lead + end - float(np.mean(differences)) for end in interval(differences))
    return {
        "slowdown": slowdown,
        "fps": fps,
        "deadline_ms": deadline_ms,
        "policy": policy,
        "links": len(own),
        "ap": round(_mean(rows, "ap"), 2),
        "met_share": round(_mean(rows, "met_share"), 4),
        "kilobytes_mean": round(_mean(rows, "kilobytes_mean"), 2),
        "ap_lead": round(lead, 2),
        "lead_low": round(low, 2),
        "lead_high": round(high, 2),
    }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean; the value itself twice if there is but one."""
    known = np.asarray(values, np.float64)
    if len(known) < 2:
        return (float(known.mean()), float(known.mean())) if len(known) else (0.0, 0.0)
    drawn = np.random.default_rng(SEED).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.percentile(known[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def targets(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what the issue asks for, over all places where it can be said: how often it holds, and the worst one."""
    groups = grouped(rows)
    asked: list[tuple[str, Callable[[Group], float | None]]] = [
        ("AP over the best fixed point's, at least -0.5", lambda g: _lead(g, BEST_FIXED, 0.5)),
        ("AP over SEE's, at least 0", lambda g: _lead(g, "see")),
        ("AP over images', at least 0", lambda g: _lead(g, "image")),
        ("AP over the device's alone where that is in time, at least -0.3", _over_local),
        ("deadlines over 98 % of the greedy oracle's, in %", lambda g: _share(g, GREEDY_ORACLE, "met_share", 0.98)),
        ("AP over 95 % of the greedy oracle's, in %", lambda g: _share(g, GREEDY_ORACLE, "ap", 0.95)),
        ("AP over 97 % of the model's optimum, in %", lambda g: _share(g, OPTIMUM, "ap", 0.97)),
        ("KB within twice those of the smallest fixed point of equal AP", _bytes_left),
        ("AP in layers over 110 % of that in one piece, 200 ms, in %", _by_layers),
    ]
    return [_target(name, reached, groups) for name, reached in asked]


def _target(name: str, reached: Callable[[Group], float | None], groups: Mapping[Place, Group]) -> dict[str, Any]:
    """Return how often a figure is at least 0, its mean and its worst place."""
    found = [(place, reached(group)) for place, group in groups.items() if OURS in group]
    known = [(value, place) for place, value in found if value is not None]
    if not known:
        return {"target": name, "places": 0, "reached": 0, "mean": None, "worst": None, "worst_at": None}
    worst, place = min(known)
    values = [value for value, _ in known]
    return {
        "target": name,
        "places": len(known),
        "reached": sum(value >= 0 for value in values),
        "mean": round(float(np.mean(values)), 2),
        "worst": round(worst, 2),
        "worst_at": f"{place[0]}, {place[1]:g}x, {place[2]:g} fps, {place[3]:g} ms",
    }


def _lead(group: Group, rival: str, slack: float = 0.0) -> float | None:
    return None if rival not in group else float(group[OURS]["ap"] - group[rival]["ap"]) + slack


def _over_local(group: Group) -> float | None:
    local = group.get("local")
    if local is None or not local["met_share"] or float(local["latency_ms_p95"]) > local["deadline_ms"]:
        return None
    return float(group[OURS]["ap"] - local["ap"]) + 0.3


def _share(group: Group, oracle: str, key: str, share: float) -> float | None:
    known = group.get(oracle)
    return None if known is None or not known[key] else 100 * (float(group[OURS][key] / known[key]) - share)


def _bytes_left(group: Group) -> float | None:
    """Return twice the KB of the smallest fixed point with the controller's accuracy, less the controller's own."""
    ours = group[OURS]
    alike = [
        row["kilobytes_mean"] for n, row in group.items() if n not in SPECIAL and row["ap"] >= ours["ap"] - EQUAL_AP
    ]
    return float(2 * min(alike) - ours["kilobytes_mean"]) if alike else None


def _by_layers(group: Group) -> float | None:
    whole, layered = group[OURS], group.get(LAYERED)
    if layered is None or not whole["ap"] or whole["trace"] not in FOR_LAYERS or whole["deadline_ms"] != 200:
        return None
    return 100 * (float(layered["ap"] / whole["ap"]) - 1.1)


def _mean(rows: Iterable[Row], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))
