"""How many replicas the load of all front daemons needs, from the queues of their batchers. Pure: no clock, no I/O.

A queue that takes longer than it may asks for more at once; what is not needed goes only when it was not needed for a
while, and one at a time, since a replica takes seconds to load a bundle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PLACES = 2  # batches that a replica has: one that it computes, one that waits for it
QUEUE_S = 0.1  # that frames may wait; half of a usual deadline
BUSY = 0.7  # share of its time that a replica computes at most, in the long run
GROWTH = 2.0  # at most, in one step
CALM_S = 30.0  # for so long fewer must have been enough


@dataclass(frozen=True)
class Load:
    """What one front daemon, or all of them together, wants of a bundle's replicas."""

    queue_s: float = 0.0  # how long the frames that wait take
    busy: float = 0.0  # replicas that compute for it, on average

    def __add__(self, other: Load) -> Load:
        """Return the load of both: they wait for the same replicas."""
        return Load(max(self.queue_s, other.queue_s), self.busy + other.busy)


class Scaling:
    """Decides for one bundle. Times in seconds on the caller's clock."""

    def __init__(self, least: int, most: int) -> None:
        """Take the fewest and the most replicas."""
        self._least, self._most = least, max(least, most)
        self._calm_since: float | None = None

    def wanted(self, replicas: int, load: Load, now: float) -> int:
        """Return how many replicas there should be, of those that there are."""
        enough = math.ceil(load.busy / BUSY)
        if load.queue_s > QUEUE_S:
            self._calm_since = None
            growth = min(GROWTH, load.queue_s / QUEUE_S)
            return self._bounded(max(enough, math.ceil(replicas * growth)))
        if enough >= replicas:
            self._calm_since = None
            return self._bounded(enough if load.busy > replicas * BUSY else replicas)
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < CALM_S:
            return self._bounded(replicas)
        self._calm_since = now
        return self._bounded(replicas - 1)

    def _bounded(self, replicas: int) -> int:
        return min(max(replicas, self._least), self._most)
