"""How often and how many at once: token buckets and counts, by whoever pays. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from splitnet.errors import ShedError

MAX_REMEMBERED = 4096  # payers whose buckets are kept; beyond it the fullest are forgotten


class Buckets:
    """A token bucket for each payer: so many at once, and then so many a second."""

    def __init__(self, per_s: float, burst: float) -> None:
        """Take the rate and the size of the buckets."""
        self._per_s = per_s
        self._burst = burst
        self._full_again: dict[Hashable, float] = {}  # when

    def take(self, payer: Hashable, now: float) -> float:
        """Take one; returns how many seconds to wait for it, 0 while the bucket lasts."""
        full_at = self._full_at(payer, now, self._per_s)
        self._keep(payer, full_at, now)
        return max(0.0, full_at - now - self._burst / self._per_s)

    def waits(self, payer: Hashable, now: float) -> float:
        """Return how many seconds the next one would wait."""
        return max(0.0, self._full_at(payer, now, self._per_s) - now - self._burst / self._per_s)

    def allow(self, payer: Hashable, now: float, per_s: float | None = None) -> bool:
        """Take one if it is there; returns whether it was. per_s: this payer's own rate, and twice that its bucket."""
        rate = self._per_s if per_s is None else per_s
        burst_s = self._burst / self._per_s if per_s is None else max(2.0, 1 / rate)
        full_at = self._full_at(payer, now, rate)
        if full_at - now > burst_s:
            return False
        self._keep(payer, full_at, now)
        return True

    def _full_at(self, payer: Hashable, now: float, per_s: float) -> float:
        return max(self._full_again.get(payer, now), now) + 1 / per_s

    def _keep(self, payer: Hashable, full_at: float, now: float) -> None:
        self._full_again[payer] = full_at
        if len(self._full_again) > MAX_REMEMBERED:
            kept = sorted(self._full_again, key=self._full_again.__getitem__)[len(self._full_again) // 2 :]
            self._full_again = {one: self._full_again[one] for one in kept if self._full_again[one] > now}


class Places:
    """How many of something each payer has open."""

    def __init__(self) -> None:
        self._taken: Counter[Hashable] = Counter()

    def taken(self, payer: Hashable) -> int:
        """Return how many are open."""
        return self._taken[payer]

    @contextmanager
    def take(self, payer: Hashable, most: int, what: str) -> Iterator[None]:
        """Hold one in this block. Raises ShedError if `most` are open; what: their name in the error."""
        if self._taken[payer] >= most:
            raise ShedError(f"{most} {what} are open already, which is the limit: close some")
        self._taken[payer] += 1
        try:
            yield
        finally:
            self._taken[payer] -= 1
            if not self._taken[payer]:
                del self._taken[payer]
