"""Spreads of figures over the last few frames, and the pace of the source. Pure."""

from __future__ import annotations

import math
from collections import deque

from edge_client.adaptation.spread import Spread
from edge_client.percentiles import percentile

FRAMES = 32  # remembered
ENOUGH = 8  # values before their p90 is believed
FEW_P90 = 1.5  # times the median: what nine of ten are taken to stay below until then
LATEST = 5  # values whose median shows a jump after three, and a single outlier never
PACE_SMOOTHING = 0.2


class RecentValues:
    """The last values of a figure: median and p90.

    rises: the figure may jump and stay there, as the time of a server does whose cores somebody else takes. Then
    the median of the latest few counts as soon as it is the higher one; downwards there is no hurry.
    enough: values before there is a median.
    """

    def __init__(self, rises: bool = False, enough: int = ENOUGH) -> None:
        self._rises = rises
        self._enough = enough
        self._values: deque[float] = deque(maxlen=FRAMES)
        self._spread: Spread | None = None

    def add(self, value: float) -> None:
        """Remember a value; what is negative or no number is ignored."""
        if not (math.isfinite(value) and value >= 0):
            return
        self._values.append(value)
        values = list(self._values)
        if len(values) >= self._enough:
            usual = percentile(values, 50)
            most = percentile(values, 90) if len(values) >= ENOUGH else FEW_P90 * usual
            if self._rises:
                usual = max(usual, percentile(values[-LATEST:], 50))
            self._spread = Spread(usual, max(usual, most))

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
