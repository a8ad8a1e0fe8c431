"""What waits for a webhook: bounded, in order, tried again with growing pauses. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from splitnet.backoff import Backoff

MAX_WAITING = 256
MAX_AGE_S = 600.0  # then what nobody has taken is dropped
RETRIED = frozenset({408, 425, 429})  # of HTTP's 4xx: a matter of time; 5xx are, too

Verdict = Literal["taken", "later", "refused"]


@dataclass(frozen=True)
class Delivery:
    """A body that is to be posted, and when it was put in."""

    number: int
    body: bytes
    since: float


class RetryQueue:
    """One delivery at a time. Times in seconds of a monotonic clock."""

    def __init__(self, backoff: Backoff) -> None:
        """Take the pauses between attempts."""
        self.dropped = 0  # too many, too old, or refused
        self.delivered = 0
        self._backoff = backoff
        self._waiting: deque[Delivery] = deque()
        self._not_before = 0.0
        self._numbers = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def put(self, now: float, body: bytes) -> None:
        """Add a body; of too many, the oldest is dropped."""
        self._numbers += 1
        self._waiting.append(Delivery(self._numbers, body, now))
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1

    def due(self, now: float) -> Delivery | None:
        """Return what is to be posted now, if anything is."""
        while self._waiting and now - self._waiting[0].since > MAX_AGE_S:
            self._waiting.popleft()
            self.dropped += 1
        return self._waiting[0] if self._waiting and now >= self._not_before else None

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until something is due; None if nothing waits."""
        return max(0.0, self._not_before - now) if self._waiting else None

    def settle(self, now: float, delivery: Delivery, status: int | None) -> Verdict:
        """Take what became of a delivery: HTTP's status, or None if there was no answer."""
        verdict = verdict_of(status)
        if verdict == "later":
            self._not_before = now + self._backoff.next_delay_s()
            return verdict
        if self._waiting and self._waiting[0] is delivery:  # else it had to make room meanwhile
            self._waiting.popleft()
        self._backoff.reset()
        self._not_before = now
        if verdict == "taken":
            self.delivered += 1
        else:
            self.dropped += 1
        return verdict


def verdict_of(status: int | None) -> Verdict:
    """Return whether a delivery was taken, should be tried again, or never will be taken."""
    if status is None or status >= 500 or status in RETRIED:
        return "later"
    return "taken" if 200 <= status < 300 else "refused"
