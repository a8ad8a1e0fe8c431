"""A histogram with fixed bounds, as Prometheus has it: cheap to add to, and read as sums from below."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts values by the smallest bound that they do not exceed."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Take rising upper bounds; what exceeds the last one is counted above it."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count a value, or so many of it."""
        self._counts[bisect_left(self._bounds, value)] += count
        self.sum += value * count

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Return how many values do not exceed each bound, the last one being "+Inf"."""
        total, rising = 0, []
        for bound, count in zip([*map(repr, map(float, self._bounds)), "+Inf"], self._counts, strict=True):
            total += count
            rising.append((bound, total))
        return rising
