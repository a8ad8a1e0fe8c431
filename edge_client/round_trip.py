"""The round trip of an empty message, from the ack latencies of frames that are not empty."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0  # a change of route is forgotten after this
MOST = 128  # latencies remembered
APART = 1.25  # sizes that differ by less tell nothing of the slope
SMOOTHING = 1 / 8  # as RFC 6298 does
JITTER_SMOOTHING = 1 / 16  # as RFC 3550 does


class RoundTrip:
    """Minimum, smoothed value and jitter of the round trip. Pure.

    The lowest latency of the window still holds that frame's transmission. Among all frames of the window the
    line from the quickest to a larger one that leaves no larger one below it gives the link's best rate, and
    its value at no bytes the round trip.
    """

    def __init__(self) -> None:
        self._latencies: deque[tuple[float, int, float]] = deque(maxlen=MOST)  # time, bytes, latency
        self._jitter_s = 0.0
        self._smoothed_s: float | None = None
        self._minimum_s: float | None = None

    @property
    def minimum_s(self) -> float:
        """Seconds; 0 as long as nothing is known."""
        return self._minimum_s or 0.0

    @property
    def minimum_ms(self) -> float | None:
        """Milliseconds, or None."""
        return None if self._minimum_s is None else 1000 * self._minimum_s

    @property
    def smoothed_ms(self) -> float | None:
        """Milliseconds, or None: of frames as they are."""
        return None if self._smoothed_s is None else 1000 * self._smoothed_s

    @property
    def jitter_s(self) -> float:
        """How much the way back of acks varies."""
        return self._jitter_s

    def note_jitter(self, difference_s: float) -> None:
        """Learn from two acks: the time between them on the server less that on the device."""
        self._jitter_s += JITTER_SMOOTHING * (abs(difference_s) - self._jitter_s)

    def add(self, now: float, wire_bytes: int, latency_s: float) -> None:
        """Learn from the ack of a frame that went into an idle link."""
        self._latencies.append((now, wire_bytes, latency_s))
        while self._latencies[0][0] < now - WINDOW_S:
            self._latencies.popleft()
        smoothed_s = latency_s if self._smoothed_s is None else self._smoothed_s
        self._smoothed_s = smoothed_s + SMOOTHING * (latency_s - smoothed_s)
        self._minimum_s = self._at_no_bytes()

    def _at_no_bytes(self) -> float:
        _, quickest_bytes, lowest_s = min(self._latencies, key=lambda entry: entry[2])
        slopes = [
            (latency_s - lowest_s) / (wire_bytes - quickest_bytes)
            for _, wire_bytes, latency_s in self._latencies
            if wire_bytes > APART * quickest_bytes
        ]
        return max(0.0, lowest_s - min(slopes, default=0.0) * quickest_bytes)
