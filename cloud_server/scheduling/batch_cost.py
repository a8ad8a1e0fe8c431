"""The cost of a batch, learnt from the batches that ran. Pure.

The model is duration = a * size + b. It is fitted by least squares that forget (a neighbour on the machine
comes and goes), and it knows how far off it tends to be, in the manner of RFC 6298.
"""

from __future__ import annotations

FORGETTING = 0.9  # weight of the past at each new batch: about ten batches count
RIDGE = 1.0  # frames squared: how much spread of sizes it takes to move the slope
CREDULITY = 4.0  # an observation counts at most as so many times what was expected: one hiccup is no trend
SHORTEST_S = 1e-4  # no batch is expected to take less: a clock that shows nothing must not be believed for ever
DEVIATIONS = 2.0  # of the mean deviation in a bound


class BatchCost:
    """The duration of a batch as a line over its size. Zero until the first observation."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._size = 0.0  # weighted means
        self._duration = 0.0
        self._size_square = 0.0  # weighted mean square deviation
        self._covariance = 0.0
        self._per_frame_s = 0.0  # a
        self._deviation = 0.0  # mean absolute error, as a share of what was expected

    @property
    def known(self) -> bool:
        """Whether anything was observed."""
        return self._weight > 0.0

    @property
    def per_frame_s(self) -> float:
        """The slope a: seconds that one more frame adds to a batch."""
        return self._per_frame_s

    @property
    def fixed_s(self) -> float:
        """The intercept b: seconds that any batch takes."""
        return self._duration - self._per_frame_s * self._size

    def duration_s(self, size: int) -> float:
        """Return what a batch is expected to take."""
        return self.fixed_s + self._per_frame_s * size

    def bound_s(self, size: int) -> float:
        """Return what a batch takes at most, but for surprises."""
        return self.duration_s(size) * (1.0 + DEVIATIONS * self._deviation)

    def observe(self, size: int, duration_s: float) -> None:
        """Learn from a batch that ran."""
        if self.known:
            expected = max(self.duration_s(size), SHORTEST_S)
            duration_s = min(duration_s, CREDULITY * expected)
            error = abs(duration_s - expected) / expected
            self._deviation += (1.0 - FORGETTING) * (error - self._deviation)
        self._update(size, duration_s)
        # Without a spread of sizes the slope stays as it was, and the intercept takes what changes.
        slope = (self._covariance + RIDGE * self._per_frame_s) / (self._size_square + RIDGE)
        if self._size_square == 0.0 and self._per_frame_s == 0.0:
            slope = duration_s / size  # nothing known but one size: no reason yet to expect that batching pays
        self._per_frame_s = min(max(slope, 0.0), self._duration / self._size)

    def _update(self, size: int, duration_s: float) -> None:
        """Move the weighted moments (West, 1979)."""
        past = FORGETTING * self._weight
        self._weight = past + 1.0
        share = 1.0 / self._weight
        from_size, from_duration = size - self._size, duration_s - self._duration
        self._size += share * from_size
        self._duration += share * from_duration
        kept = past / self._weight
        self._size_square = kept * (self._size_square + share * from_size**2)
        self._covariance = kept * (self._covariance + share * from_size * from_duration)
