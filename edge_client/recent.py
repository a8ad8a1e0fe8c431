"""What the last few frames teach: spreads of figures that vary, and the pace of the source. Pure."""

from __future__ import annotations

import math
from collections import deque

from edge_client.latency import percentile
from edge_client.prospect import Spread

FRAMES = 32  # remembered
ENOUGH = 8  # values before they are believed
PACE_SMOOTHING = 0.2


class RecentValues:
    """The last values of a figure: median and p90."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=FRAMES)
        self._spread: Spread | None = None

    def add(self, value: float) -> None:
        """Remember a value; what is negative or no number is ignored."""
        if not (math.isfinite(value) and value >= 0):
            return
        self._values.append(value)
        values = list(self._values)
        if len(values) >= ENOUGH:
            self._spread = Spread(percentile(values, 50), percentile(values, 90))

    @property
    def spread(self) -> Spread | None:
        """What is usual; None while there are too few values."""
        return self._spread


class FramePace:
    """The time between two frames of the source, also when some of them are never taken."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None
        self._interval_s: float | None = None

    def add(self, frame_id: int, capture_time: float) -> None:
        """Learn from a frame. Ids count the frames of the source, those never taken included."""
        if self._last is not None and frame_id > self._last[0] and capture_time > self._last[1]:
            interval_s = (capture_time - self._last[1]) / (frame_id - self._last[0])
            known_s = interval_s if self._interval_s is None else self._interval_s
            self._interval_s = known_s + PACE_SMOOTHING * (interval_s - known_s)
        self._last = frame_id, capture_time

    @property
    def interval_ms(self) -> float | None:
        """Milliseconds, or None before the second frame."""
        return None if self._interval_s is None else 1000 * self._interval_s
