"""A circuit breaker: whether it is worth calling somebody who failed of late (Nygard, Release It!, 2007). Pure."""

from __future__ import annotations

import math

FAILURES = 2  # in a row, after which it opens
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 10.0


class Breaker:
    """Closed, every call is made. Open, one is tried now and then. Times in seconds on the caller's clock."""

    def __init__(self, failures: int = FAILURES) -> None:
        """Take how many failures in a row open it."""
        self._failures = failures
        self._in_a_row = 0
        self._wait_s = FIRST_WAIT_S
        self._try_at = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether calls are held back."""
        return self._in_a_row >= self._failures

    def may_call(self, now: float) -> bool:
        """Return whether to make a call now. Open, that is one each time a wait is over, until its outcome is known."""
        if not self.is_open:
            return True
        if now < self._try_at:
            return False
        self._try_at = now + self._wait_s
        return True

    def succeeded(self) -> None:
        """Take note of a call that was answered: closed again."""
        self._in_a_row = 0
        self._wait_s = FIRST_WAIT_S

    def failed(self, now: float) -> None:
        """Take note of a call that was not. Each failure while it is open doubles the wait."""
        was_open = self.is_open
        self._in_a_row += 1
        if was_open:
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        if self.is_open:
            self._try_at = now + self._wait_s
