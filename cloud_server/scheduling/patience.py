"""How long a batch may take, since whoever comes just then waits for all of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable

REMEMBERED_S = 10.0
MAX_GROUPS = 256
SHARE = 0.5  # of a deadline that may pass before a frame's own batch begins
FLOOR_S = 0.1  # nobody splits the batches of the others by asking for the impossible


class Patience:
    """The deadlines of the groups that were served lately."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[float, float]] = {}  # when, and the deadline in seconds

    def seen(self, group: Hashable, now: float, deadline_s: float) -> None:
        """Learn that a group wants an answer within so many seconds."""
        self._seen.pop(group, None)
        self._seen[group] = now, deadline_s
        if len(self._seen) > MAX_GROUPS:
            del self._seen[next(iter(self._seen))]

    def longest_s(self, now: float) -> float:
        """Return how long a batch may take; without an end for a group that is alone."""
        recent = [deadline_s for at, deadline_s in self._seen.values() if now - at <= REMEMBERED_S]
        return math.inf if len(recent) < 2 else max(FLOOR_S, SHARE * min(recent))
