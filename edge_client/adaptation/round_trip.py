"""The round trip of an empty message, from the ack latencies of frames that are not empty. Pure."""

from __future__ import annotations

import math
from collections import deque

WINDOW_S = 30.0  # a latency bounds the round trip for this long ...
FEWEST = 40  # ... and for at least this many frames: an outage alone does not make it forgotten
DRIFT_S = 0.001  # how far the round trip wanders in a second
BYTE_DRIFT = 0.5  # how far the time for a byte does, as a share of itself
FIRST_SHARE = 0.9  # of the first latency, a small frame's, that counts as round trip
FIRST_DEVIATION = 0.3  # of the first latency: how well that is known
FIRST_NOISE_S = 0.01
OUTLIER = 3.0  # standard deviations: larger errors are cut to this
NOISE_SMOOTHING = 0.05
MIN_NOISE = 0.001**2  # seconds squared
MIN_BYTE_S = 1e-10
SMOOTHING = 1 / 8  # as RFC 6298 does
JITTER_SMOOTHING = 1 / 16  # as RFC 3550 does


class RoundTrip:
    """Round trip, smoothed latency and jitter.

    A latency is the round trip plus the frame's bytes times the link's time for a byte. Both are unknown, and the
    second changes quickly. A Kalman filter (Kalman 1960) has these two as its state. It tells them apart as far as the
    sizes of frames differ, and leaves the round trip as it was where they do not. The round trip is never longer than
    the lowest latency of a window.
    """

    def __init__(self) -> None:
        self._time: float | None = None  # of the last measurement
        self._empty_s = 0.0
        self._byte_s = 0.0
        self._empty_variance = self._byte_variance = self._covariance = 0.0
        self._noise = FIRST_NOISE_S**2
        self._latencies: deque[tuple[float, float]] = deque()  # time, seconds
        self._smoothed_s: float | None = None
        self._jitter_s = 0.0

    @property
    def minimum_s(self) -> float:
        """Of an empty message on an idle link, in seconds; 0 as long as nothing is known."""
        return self._empty_s

    @property
    def minimum_ms(self) -> float | None:
        """The same in milliseconds, or None."""
        return None if self._time is None else 1000 * self._empty_s

    @property
    def smoothed_ms(self) -> float | None:
        """Of frames as they are, in milliseconds, or None."""
        return None if self._smoothed_s is None else 1000 * self._smoothed_s

    @property
    def jitter_s(self) -> float:
        """How much the way back of acks varies, in seconds."""
        return self._jitter_s

    def note_jitter(self, difference_s: float) -> None:
        """Learn from two acks: the time between them on the server less that on the device."""
        self._jitter_s += JITTER_SMOOTHING * (abs(difference_s) - self._jitter_s)

    def add(self, now: float, wire_bytes: int, latency_s: float) -> None:
        """Learn from the ack of a frame that went into an idle link."""
        smoothed_s = latency_s if self._smoothed_s is None else self._smoothed_s
        self._smoothed_s = smoothed_s + SMOOTHING * (latency_s - smoothed_s)
        self._latencies.append((now, latency_s))
        while len(self._latencies) > FEWEST and self._latencies[0][0] < now - WINDOW_S:
            self._latencies.popleft()
        if self._time is None:
            self._begin(now, wire_bytes, latency_s)
        else:
            self._update(now, 1.0, wire_bytes, latency_s)
        self._empty_s = min(self._empty_s, min(latency_s for _, latency_s in self._latencies))

    def add_transfer(self, now: float, wire_bytes: int, duration_s: float) -> None:
        """Learn how long a frame took that followed another one without a gap."""
        if self._time is not None:
            self._update(now, 0.0, wire_bytes, duration_s)

    def _begin(self, now: float, wire_bytes: int, latency_s: float) -> None:
        self._time = now
        self._empty_s = FIRST_SHARE * latency_s
        self._byte_s = (1 - FIRST_SHARE) * latency_s / wire_bytes
        self._empty_variance = (FIRST_DEVIATION * latency_s) ** 2
        self._byte_variance = self._empty_variance / wire_bytes**2
        self._covariance = -FIRST_SHARE * self._empty_variance / wire_bytes  # what one is less, the other is more

    def _update(self, now: float, trips: float, wire_bytes: int, measured_s: float) -> None:
        """Take one step of the filter: measured are trips round trips, the time of the bytes, and noise."""
        assert self._time is not None
        elapsed_s, self._time = max(0.0, now - self._time), now
        self._empty_variance += DRIFT_S**2 * elapsed_s
        self._byte_variance += (BYTE_DRIFT * self._byte_s) ** 2 * elapsed_s
        with_empty = trips * self._empty_variance + wire_bytes * self._covariance
        with_byte = trips * self._covariance + wire_bytes * self._byte_variance
        explained = trips * with_empty + wire_bytes * with_byte
        variance = explained + self._noise
        limit_s = OUTLIER * math.sqrt(variance)
        error_s = measured_s - trips * self._empty_s - wire_bytes * self._byte_s
        error_s = min(max(error_s, -limit_s), limit_s)
        self._empty_s = max(0.0, self._empty_s + with_empty / variance * error_s)
        self._byte_s = max(MIN_BYTE_S, self._byte_s + with_byte / variance * error_s)
        self._empty_variance -= with_empty**2 / variance
        self._byte_variance -= with_byte**2 / variance
        self._covariance -= with_empty * with_byte / variance
        self._noise += NOISE_SMOOTHING * (max(error_s**2 - explained, MIN_NOISE) - self._noise)
