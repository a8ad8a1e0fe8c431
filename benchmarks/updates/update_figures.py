"""What the rows of the update benchmark say: bytes at a fidelity, and ours against the best rival's. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.bootstrap import PERCENTILES

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
LEVELS = (98.0, 95.0, 90.0, 80.0)  # percent of fidelity
BUDGETS_KB = (9, 18, 36)
HALF = 0.5


def bytes_at(sizes: Floats, fidelities: Floats, level: float) -> float:
    """Return the bytes at which a method's best updates reach a fidelity; infinity if they do not.

    sizes, fidelities: (n,) of its updates. Between the best update below the level and the first above it, bytes grow
    in proportion (their logarithm along a straight line).
    """
    size, fidelity = 0.0, -math.inf
    for number in np.argsort(sizes, kind="stable"):
        if fidelities[number] >= level:
            if size <= 0:
                return float(sizes[number])
            share = (level - fidelity) / (fidelities[number] - fidelity)
            return float(size * (sizes[number] / size) ** share)
        if fidelities[number] > fidelity:
            size, fidelity = float(sizes[number]), float(fidelities[number])
    return math.inf


def value_at(sizes: Sequence[float], values: Sequence[float], size: float) -> float | None:
    """Return the best value of the updates of at most a size; None if all are larger."""
    found = [value for own, value in zip(sizes, values, strict=True) if own <= size]
    return max(found, default=None)


def comparisons(rows: Sequence[Row], own: str, levels: Iterable[float] = LEVELS) -> list[dict[str, Any]]:
    """Return, for each task and fidelity, our bytes and the best rival's, and their ratio with a 95 % interval.

    rows have "resampled", the fidelity under each resample of the images, the same ones for all methods of a task and
    seed. The best rival is chosen anew in every resample, so the interval knows that it was chosen. Several seeds count
    by the mean logarithm of their ratios. A ratio is null where either does not get there.
    """
    result = []
    for task in _in_order(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        seeds = [seed for seed in _in_order(row["seed"] for row in of_task) if _has(of_task, own, seed)]
        for level in levels:
            result.append(
                {"task": task, "fidelity": level, "seeds": len(seeds), **_compared(of_task, own, seeds, level)}
            )
    return result


def _compared(rows: Sequence[Row], own: str, seeds: Sequence[int], level: float) -> dict[str, Any]:
    logs, ours, theirs, names = [], [], [], []
    for seed in seeds:
        of_seed = [row for row in rows if row["seed"] == seed]
        methods = _in_order(row["method"] for row in of_seed)
        found = {name: _resampled_bytes([row for row in of_seed if row["method"] == name], level) for name in methods}
        rivals = [name for name in methods if name != own]
        best = np.min([found[name] for name in rivals], axis=0) if rivals else np.full_like(found[own], np.inf)
        with np.errstate(invalid="ignore", divide="ignore"):
            logs.append(np.log(found[own]) - np.log(best))
        ours.append(found[own][0])
        theirs.append(best[0])
        names.append(min(rivals, key=lambda name: found[name][0], default=""))
    ratio = np.exp(np.mean(logs, axis=0)) if logs else np.array([np.nan])
    low, high = interval_of_ratio(ratio)
    measured = float(ratio[0]) if np.isfinite(ratio[0]) else None
    return {
        "bytes": _mean(ours),
        "rival": names[0] if names and math.isfinite(theirs[0]) else None,
        "rival_bytes": _mean(theirs),
        "ratio": measured,
        "ratio_low": low,
        "ratio_high": high,
        "is_half": measured is not None and measured <= HALF and high is not None and high < 1.0,
    }


def interval_of_ratio(ratio: Floats) -> tuple[float | None, float | None]:
    """Return the 95 % interval of resampled ratios, the first of which is the measured one.

    Where we do not get there the ratio counts as infinite, where only the rival does not as zero. None twice if the
    measured one is not finite.
    """
    if not np.isfinite(ratio[0]) or ratio.size < 2:
        return None, None
    known = np.where(np.isnan(ratio[1:]), np.inf, ratio[1:])
    low, high = np.percentile(known, PERCENTILES, method="nearest")
    return float(low), float(high) if np.isfinite(high) else None


def _resampled_bytes(rows: Sequence[Row], level: float) -> Floats:
    sizes = np.array([row["bytes"] for row in rows], np.float64)
    fidelities = np.array([row["resampled"] for row in rows], np.float64)
    return np.array([bytes_at(sizes, column, level) for column in fidelities.T])


def budgets(rows: Sequence[Row], own: str) -> list[dict[str, Any]]:
    """Return what our updates and the best rival's reach within each budget, by task; the mean of all seeds."""
    result = []
    for task in _in_order(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        for budget in BUDGETS_KB:
            line: dict[str, Any] = {"task": task, "budget_kb": budget}
            for key in ("fidelity", "gain_share"):
                line[key] = _best(of_task, key, budget, lambda name: name == own)
                line[f"rival_{key}"] = _best(of_task, key, budget, lambda name: name != own)
            result.append(line)
    return result


def _best(rows: Sequence[Row], key: str, budget_kb: float, chooses: Any) -> float | None:
    found = []
    for seed in _in_order(row["seed"] for row in rows):
        own = [row for row in rows if row["seed"] == seed and chooses(row["method"]) and row[key] is not None]
        value = value_at([row["bytes"] for row in own], [row[key] for row in own], 1000 * budget_kb)
        if value is not None:
            found.append(value)
    return _mean(found)


def best_rows(rows: Sequence[Row], level: float = LEVELS[0]) -> list[dict[str, Any]]:
    """Return, for each task and method, its bytes at each fidelity of LEVELS, the mean of its seeds."""
    result = []
    for task in _in_order(row["task"] for row in rows):
        for method in _in_order(row["method"] for row in rows if row["task"] == task):
            own = [row for row in rows if row["task"] == task and row["method"] == method]
            line: dict[str, Any] = {"task": task, "method": method}
            for one in LEVELS:
                line[f"bytes_{one:g}"] = _mean(
                    [_bytes_of_seed(own, seed, one) for seed in _in_order(r["seed"] for r in own)]
                )
            result.append(line)
    return result


def _bytes_of_seed(rows: Sequence[Row], seed: int, level: float) -> float:
    own = [row for row in rows if row["seed"] == seed]
    return bytes_at(np.array([r["bytes"] for r in own], np.float64), np.array([r["fidelity"] for r in own]), level)


def _has(rows: Sequence[Row], method: str, seed: int) -> bool:
    return any(row["method"] == method and row["seed"] == seed for row in rows)


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean; None if there is none, or one of them is infinite."""
    return float(np.mean(values)) if values and np.isfinite(values).all() else None


def _in_order(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
