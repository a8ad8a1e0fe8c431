"""A link's rate as tokens: bytes pass when the link has had the time to carry them. Pure."""

from __future__ import annotations

import math

CHUNK_BYTES = 1500  # that are asked for at once, at most
LATE_S = 0.005  # of unused time that is not lost: whoever waits for tokens wakes up late


class TokenBucket:
    """Fills at the link's rate, up to a chunk or what the link carries in `LATE_S`. Starts with a chunk.

    now: seconds of any clock that never goes back.
    """

    def __init__(self, now: float, rate_bps: float) -> None:
        self._rate_bps = rate_bps
        self._tokens = float(CHUNK_BYTES)
        self._filled_at = now

    def set_rate(self, now: float, rate_bps: float) -> None:
        """Go on at another rate; 0 is an outage."""
        self._fill(now)
        self._rate_bps = rate_bps

    def wait_s(self, now: float, size_bytes: int) -> float:
        """Return how long a chunk has to wait from now on: 0 if it may pass, inf in an outage."""
        self._fill(now)
        missing = size_bytes - self._tokens
        if missing <= 1e-6:  # less than what rounding leaves
            return 0.0
        return missing * 8 / self._rate_bps if self._rate_bps else math.inf

    def take(self, size_bytes: int) -> None:
        """Let a chunk pass."""
        self._tokens -= size_bytes

    def _fill(self, now: float) -> None:
        limit = max(float(CHUNK_BYTES), self._rate_bps / 8 * LATE_S)
        self._tokens = min(max(limit, self._tokens), self._tokens + (now - self._filled_at) * self._rate_bps / 8)
        self._filled_at = now
