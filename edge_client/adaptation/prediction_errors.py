"""The distribution of prediction errors, and with it the chance of a frame to be in time. Pure."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

FRAMES = 64  # remembered
# Ten quantiles of a normal distribution, the last one further out: what counts until there are frames, and always a
# little, since a link that was quiet so far is not quiet for ever.
PRIOR = (-1.65, -1.04, -0.67, -0.39, -0.13, 0.13, 0.39, 0.67, 1.04, 2.5)
LARGEST = 1e6


class PredictionErrors:
    """How far frames came behind their prediction, in standard deviations of that prediction."""

    def __init__(self) -> None:
        self._errors: deque[float] = deque(maxlen=FRAMES)
        self._ordered = np.array(PRIOR)

    def add(self, error: float) -> None:
        """Learn from a frame; infinity if it never came."""
        self._errors.append(min(max(error, -LARGEST), LARGEST))
        self._ordered = np.sort([*self._errors, *PRIOR])

    def chances(self, slack: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of frames that come at most so many standard deviations behind their prediction."""
        return np.searchsorted(self._ordered, slack, side="right") / len(self._ordered)

    def chance(self, slack: float) -> float:
        """Return the same for one frame."""
        return float(self.chances(np.array([slack]))[0])
