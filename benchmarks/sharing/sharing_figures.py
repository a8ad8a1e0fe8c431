"""What the merges say together: the metric that predicts best, the frontier, what simpler choices would give. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.sharing.correlations import FEWEST, Floats, correlate, pearson

Row = Mapping[str, Any]

# Those that look at images. The others are there to be beaten.
SIMILARITIES = (
    "r2",
    "cka",
    "procrustes",
    "gram_cosine",
    "r2_neck",
    "divergence",
    "scores_explained",
    "own_ap",
    "fidelity_unlabelled",
    "tail_agreement",
)
LOSSES = (0.5, 1.0, 2.0, 4.0)  # points of AP
DRAWS = 2000


def chosen_metric(merges: Sequence[Row]) -> str:
    """Return the similarity whose Pearson correlation with what was kept is the strongest over all merges."""

    kept = np.array([float(row["ap_kept"]) for row in merges])
    return max(SIMILARITIES, key=lambda metric: _strength(_values(merges, metric), kept))


def _values(merges: Sequence[Row], metric: str) -> Floats:
    return np.array([float(row["similarity"][metric]) for row in merges])


def _strength(values: Floats, kept: Floats) -> float:
    found = abs(pearson(values, kept))
    return found if np.isfinite(found) else 0.0


def held_out(merges: Sequence[Row]) -> dict[str, Any] | None:
    """Return how well a measure predicts that was chosen without the merges that it is judged on.

    Each pair of bundles is left out once, both ways at a time. The measure with the strongest correlation over the
    others is chosen, and a line through them predicts what the left-out merges keep. None with fewer than two pairs.
    """
    couples = [frozenset((row["a"], row["b"])) for row in merges]
    predicted, actual, chosen = [], [], []
    for couple in dict.fromkeys(couples):
        known = [row for row, own in zip(merges, couples, strict=True) if own != couple]
        left_out = [row for row, own in zip(merges, couples, strict=True) if own == couple]
        if len(known) < FEWEST:
            return None
        metric = chosen_metric(known)
        line = np.polyfit(_values(known, metric), [float(row["ap_kept"]) for row in known], 1)
        predicted += np.polyval(line, _values(left_out, metric)).tolist()
        actual += [float(row["ap_kept"]) for row in left_out]
        chosen.append(metric)
    found = correlate(predicted, actual)
    error = float(np.mean(np.abs(np.subtract(predicted, actual))))
    return None if found is None else {"chosen": dict(Counter(chosen)), "mean_error": error, **vars(found)}


def frontier(merges: Sequence[Row]) -> list[dict[str, Any]]:
    """Return, for each pair, the merges that no other beats in AP lost, bytes saved and computation saved."""
    pairs = dict.fromkeys((row["a"], row["b"]) for row in merges)
    rows = []
    for a, b in pairs:
        own = [row for row in merges if (row["a"], row["b"]) == (a, b)]
        own = [row for row in own if row["bytes_saved"] > 0 or row["mmacs_saved"] > 0]
        rows += [_brief(row) for row in own if not any(_beats(other, row) for other in own)]
    return rows


def _beats(other: Row, row: Row) -> bool:
    keys: Sequence[Callable[[Row], float]] = (
        lambda one: -float(one["ap_loss"]),
        lambda one: float(one["bytes_saved"]),
        lambda one: float(one["mmacs_saved"]),
    )
    pairs = [(key(other), key(row)) for key in keys]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def _brief(row: Row) -> dict[str, Any]:
    kept = ("a", "b", "group", "kind", "cut", "ap_alone", "ap", "ap_loss", "bytes_saved", "bytes_alone", "mmacs_saved")
    return {name: row[name] for name in kept}


def baselines(merges: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what each way of choosing a merge of a common ancestor saves at most, for some losses of AP.

    A way ranks the merges of a pair without labels, and takes them from the best on while their true loss stays within.
    "oracle" knows the losses. Identical layers alone save nothing where every layer has been trained on.
    """
    rows = []
    for pair in dict.fromkeys((row["a"], row["b"]) for row in merges if row["group"] == "common ancestor"):
        own = [row for row in merges if (row["a"], row["b"]) == pair and row["bytes_saved"] > 0]
        for most in LOSSES:
            both = 2 * own[0]["bytes_alone"]
            saved = {
                "oracle": _oracle(own, most),
                **{metric: _ranked(own, metric, most) for metric in SIMILARITIES},
                "weight_distance": _ranked(own, "weight_distance", most),
                "random": _random(own, most),
                "identical layers": 0.0,
            }
            shares = {name: value / both for name, value in saved.items()}
            rows.append({"a": pair[0], "b": pair[1], "ap_lost_at_most": most, "share_saved": shares})
    return rows


def _oracle(own: Sequence[Row], most: float) -> float:
    return max((float(row["bytes_saved"]) for row in own if row["ap_loss"] <= most), default=0.0)


def _ranked(own: Sequence[Row], metric: str, most: float) -> float:
    """Return the most bytes saved before the first merge, in the metric's order, that loses too much."""
    sign = 1.0 if metric in ("divergence", "weight_distance") else -1.0
    order = sorted(
        (row for row in own if row["similarity"].get(metric) is not None), key=lambda r: _key(r, metric, sign)
    )
    best = 0.0
    for row in order:
        if row["ap_loss"] > most:
            break
        best = max(best, float(row["bytes_saved"]))
    return best


def _key(row: Row, metric: str, sign: float) -> float:
    return sign * float(row["similarity"][metric])


def _random(own: Sequence[Row], most: float) -> float:
    """Return the mean over random orders of the same."""
    draw, total = np.random.default_rng(0), 0.0
    for _ in range(DRAWS):
        best = 0.0
        for index in draw.permutation(len(own)):
            if own[index]["ap_loss"] > most:
                break
            best = max(best, float(own[index]["bytes_saved"]))
        total += best
    return total / DRAWS
