"""The capacity of a link, from how long it took for single frames. Pure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from edge_client.percentiles import percentile

MAX_BPS = 1e10
MEMORY_S = 0.7  # what is this old counts a third
LATE_FRAMES, LATE_PERCENT = 20, 90  # `late_s` is this percentile over this many frames
SURPRISE_LATE, SURPRISE_SHARE, SURPRISE_S = 2.0, 0.5, 0.02  # see `Capacity._is_surprise`
RISE = 2.0  # times faster than expected, twice in a row: the link has become better


@dataclass(frozen=True)
class _Rate:
    """Bytes, and how long the link was busy with them. Both fade."""

    wire_bytes: float
    busy_s: float

    def expected_s(self, wire_bytes: int) -> float:
        return wire_bytes * self.busy_s / self.wire_bytes

    def faded(self, elapsed_s: float) -> _Rate:
        keep = math.exp(-max(0.0, elapsed_s) / MEMORY_S)
        return _Rate(keep * self.wire_bytes, keep * self.busy_s)

    def plus(self, other: _Rate) -> _Rate:
        return _Rate(self.wire_bytes + other.wire_bytes, self.busy_s + other.busy_s)


class Capacity:
    """Bytes over busy time of the last second, and how much later than that frames come.

    A radio link pauses for some ten milliseconds, however large the frame. So lateness is kept as a time, not as a
    share. A frame that is much too late starts a new estimate at once. The next frame tells whether the link is slower
    now, or was only away for a moment.
    """

    def __init__(self) -> None:
        self._rate: _Rate | None = None
        self._before: _Rate | None = None  # the rate that the last frame overthrew
        self._time = 0.0
        self._risen = False
        self._lates_s: deque[float] = deque(maxlen=LATE_FRAMES)

    @property
    def mean_bps(self) -> float | None:
        """Bits a second, None before the first frame."""
        return None if self._rate is None else min(8 * self._rate.wire_bytes / self._rate.busy_s, MAX_BPS)

    @property
    def late_s(self) -> float:
        """The p90 of the time that recent frames took beyond the expected."""
        return percentile(self._lates_s, LATE_PERCENT)

    def add(self, now: float, wire_bytes: int, duration_s: float, at_least: bool) -> float:
        """Learn that the link took duration_s for wire_bytes; returns how late that was, in seconds.

        at_least: the link can do this and perhaps more, so the sample may only raise the estimate.
        """
        seen = _Rate(wire_bytes, max(duration_s, 8 * wire_bytes / MAX_BPS))
        if self._rate is None:
            self._rate, self._time = seen, now
            return 0.0
        rate = self._outage_over(self._rate, seen)
        expected_s = rate.expected_s(wire_bytes)
        late_s = seen.busy_s - expected_s
        if not (at_least and late_s >= 0):
            self._rate = self._next(rate, seen, late_s, expected_s, now - self._time)
            self._time = now
        return late_s

    def _outage_over(self, rate: _Rate, seen: _Rate) -> _Rate:
        """Return the rate of before the last surprise, if what is seen now is closer to it."""
        before, self._before = self._before, None
        if before is None:
            return rate
        byte_s = math.log(seen.busy_s / seen.wire_bytes)
        distances = [abs(byte_s - math.log(r.busy_s / r.wire_bytes)) for r in (rate, before)]
        return before if distances[1] < distances[0] else rate

    def _next(self, rate: _Rate, seen: _Rate, late_s: float, expected_s: float, elapsed_s: float) -> _Rate:
        if self._is_surprise(late_s, expected_s):
            self._before, self._risen = rate, False
            return seen
        rises = seen.busy_s * RISE < expected_s
        if rises and self._risen:
            self._risen = False
            return seen
        self._risen = rises
        self._lates_s.append(max(0.0, late_s))
        return rate.faded(elapsed_s).plus(seen)

    def _is_surprise(self, late_s: float, expected_s: float) -> bool:
        return late_s > SURPRISE_LATE * self.late_s + SURPRISE_SHARE * expected_s + SURPRISE_S
