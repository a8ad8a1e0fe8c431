"""How sure a figure is that was taken on a few hundred images: bootstrap over the images (Efron, 1979).

Every system sees the same resamples, so that a difference of two is surer than either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.matches import Matches
from training.evaluation.measure import Tally

Floats = NDArray[np.float64]
INTERVAL = (2.5, 97.5)  # percentiles of what the resamples say


def draw(images: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return how often each resample counts each image (1 + resamples, images); the first counts each once."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate((np.ones((1, images), np.int64), drawn))


@dataclass(frozen=True, eq=False)
class Sample:
    """What one system came to, in each resample: (1 + resamples,). The first value is the one that was measured."""

    ap: Floats  # percent
    ap50: Floats
    bytes_mean: Floats

    @classmethod
    def of(cls, matches: Matches, tally: Tally, counts: NDArray[np.int64]) -> Sample:
        """Return the figures of a system under every resample."""
        precision = matches.average_precision(counts)
        sizes = counts @ np.array(tally.sizes, np.float64) / counts.shape[1]
        return cls(precision.mean(axis=1), precision[:, 0], sizes)


def interval(values: Floats) -> tuple[float | None, float | None]:
    """Return between what 95 % of the resampled values lie, the first (the measured one) left out; None if unknown."""
    known = values[1:][np.isfinite(values[1:])]
    if not known.size:
        return None, None
    low, high = np.percentile(known, INTERVAL)
    return float(low), float(high)
