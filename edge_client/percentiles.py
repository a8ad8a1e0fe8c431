"""Percentiles by numpy's default rule: linear between two values (Hyndman and Fan 1996, definition 7).

Plain Python: an estimator needs one of twenty values on every frame. The histogram takes constant memory, however long
the run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection

_SMALLEST_MS = 0.001
_LARGEST_MS = 1e6
_GROWTH = 1.005  # neighbouring buckets differ by 0.5 %: finer than any run repeats
_LOG_GROWTH = math.log(_GROWTH)
_BUCKETS = math.ceil(math.log(_LARGEST_MS / _SMALLEST_MS) / _LOG_GROWTH) + 1


class LatencyHistogram:
    """Counts times in logarithmic buckets from 1 us to 1000 s; exact to 0.25 %."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.sum_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one time in milliseconds; what lies outside the range counts as its end."""
        bounded = min(max(duration_ms, _SMALLEST_MS), _LARGEST_MS)
        self._counts[int(math.log(bounded / _SMALLEST_MS) / _LOG_GROWTH)] += 1
        self.count += 1
        self.sum_ms += bounded

    def count_up_to(self, bound_ms: float) -> int:
        """Return how many times are at most a bound of less than 1000 s, exact to 0.5 %."""
        return sum(self._counts[: int(math.log(max(bound_ms, _SMALLEST_MS) / _SMALLEST_MS) / _LOG_GROWTH) + 1])

    def percentile_ms(self, percent: float) -> float:
        """Return the time in milliseconds that `percent` of all times stay below, 0 if there are none."""
        rank, share = divmod(max(0, self.count - 1) * percent / 100, 1)
        low_ms = self._ranked_ms(rank)
        return low_ms + share * (self._ranked_ms(rank + 1) - low_ms) if share else low_ms

    def _ranked_ms(self, rank: float) -> float:
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen > rank:
                return float(_SMALLEST_MS * _GROWTH ** (index + 0.5))
        return 0.0


class RecentWindow:
    """The values of the last few seconds, for a line that shows what happens now."""

    def __init__(self, span_s: float = 5.0, most: int = 1024) -> None:
        self._span_s = span_s
        self._entries: deque[tuple[float, float]] = deque(maxlen=most)

    def add(self, now: float, value: float) -> None:
        """Remember a value measured at `now` seconds."""
        self._entries.append((now, value))

    def values(self, now: float) -> list[float]:
        """Return the values still inside the span, oldest first."""
        while self._entries and self._entries[0][0] < now - self._span_s:
            self._entries.popleft()
        return [value for _, value in self._entries]

    def rate_per_s(self, now: float) -> float:
        """Return how many values came per second, measured from the oldest one inside the span."""
        count = len(self.values(now))
        if count < 2:
            return 0.0
        elapsed = now - self._entries[0][0]
        return count / elapsed if elapsed > 0 else 0.0


def percentile(values: Collection[float], percent: float) -> float:
    """Return a percentile of a few values, 0 if there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank, share = divmod((len(ordered) - 1) * percent / 100, 1)
    low = ordered[int(rank)]
    return low + share * (ordered[int(rank) + 1] - low) if share else low
