"""Which weights are sent, where only some are. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Masks = dict[str, NDArray[np.bool_]]


def partial_scores(
    differences: Mapping[str, Values], contributions: Mapping[str, Values], balance: float
) -> dict[str, Values]:
    """Return how much each weight matters (Qu et al., "Deep Partial Updating", ECCV 2022).

    balance * dw**2 / sum(dw**2) + (1 - balance) * c / sum(c), sums over all weights: how far it has gone, and c, what
    its steps took off the loss on the way.
    """
    far = sum(float((value.astype(np.float64) ** 2).sum()) for value in differences.values())
    gained = sum(float(contributions[name].astype(np.float64).sum()) for name in differences)
    return {
        name: np.asarray(
            balance * value**2 / max(far, 1e-30) + (1 - balance) * contributions[name] / max(gained, 1e-30), np.float32
        )
        for name, value in differences.items()
    }


def highest(scores: Mapping[str, Values], share: float) -> Masks:
    """Return masks of the highest scores, a share of all of them together; of equal ones, the first."""
    flat = np.concatenate([value.ravel() for value in scores.values()])
    chosen = np.zeros(flat.size, np.bool_)
    chosen[np.argsort(-flat, kind="stable")[: round(share * flat.size)]] = True
    edges = np.cumsum([value.size for value in scores.values()])[:-1]
    parts = np.split(chosen, edges)
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
