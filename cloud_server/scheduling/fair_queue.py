"""Turns between sessions: start-time fair queueing (Goyal et al., SIGCOMM 1996). Pure.

A session's virtual time is the number of its frames that were computed. Whoever comes anew, or again, starts where
those stand that are served now: having been away earns no credit.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Generic, Protocol, TypeVar

MAX_REMEMBERED = 4096  # sessions ahead of the others; beyond it the nearest are forgiven


class Waiting(Protocol):
    """What stands in a queue."""

    @property
    def session(self) -> Hashable:
        """Whose turn it takes."""

    @property
    def due(self) -> float:
        """When it is due, in seconds: among equals the earliest goes first."""


W = TypeVar("W", bound=Waiting)


class FairQueue(Generic[W]):
    """Who waits for whom. A request's tag is how many turns its session has had when it is served."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, list[W]] = {}  # by session, in order of arrival
        self._finished: dict[Hashable, float] = {}  # virtual times that are ahead of _now
        self._now = 0.0
        self._count = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    def waiting(self, session: Hashable) -> int:
        """Return how many of a session wait."""
        return len(self._queues.get(session, ()))

    def add(self, request: W) -> None:
        """Let a request stand in line."""
        self._queues.setdefault(request.session, []).append(request)
        self._count += 1

    def remove(self, request: W) -> None:
        """Let a request go, served or not; those behind it in its session move up."""
        queue = self._queues[request.session]
        queue.remove(request)
        self._count -= 1
        if not queue:
            del self._queues[request.session]

    def serve(self, requests: Collection[W]) -> None:
        """Count a turn for each of some requests, which still stand in line."""
        tags = self._tags()
        self._now = max(self._now, min(tags[request] for request in requests))
        for request in requests:
            self._finished[request.session] = self._start(request.session) + 1.0
        if len(self._finished) > MAX_REMEMBERED:
            self._now = sorted(self._finished.values())[len(self._finished) - MAX_REMEMBERED - 1]
        self._finished = {session: time for session, time in self._finished.items() if time > self._now}

    def order(self, requests: Collection[W]) -> list[W]:
        """Return requests in the order of their turns."""
        tags = self._tags()
        return sorted(requests, key=lambda request: (tags[request], request.due))

    def tag_of_next(self, session: Hashable) -> float:
        """Return the tag that one more request of a session would have."""
        return self._start(session) + self.waiting(session)

    def last(self) -> tuple[float, W] | None:
        """Return the request that would be served last, after its tag; None if nobody waits."""
        tags = self._tags()
        return max(((tag, request) for request, tag in tags.items()), key=lambda one: one[0], default=None)

    def _start(self, session: Hashable) -> float:
        return max(self._now, self._finished.get(session, 0.0))

    def _tags(self) -> dict[W, float]:
        return {
            request: self._start(session) + place
            for session, queue in self._queues.items()
            for place, request in enumerate(queue)
        }
