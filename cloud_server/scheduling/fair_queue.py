"""Turns between sessions, at two levels: groups share equally, and the sessions of a group share what it has. Pure.

Start-time fair queueing (`virtual_time`), where everything costs one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable
from typing import Generic, Protocol, TypeVar

from cloud_server.scheduling.payer import group_of
from cloud_server.scheduling.virtual_time import VirtualTime


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
    """Who waits for whom. A request's tag is how many turns its group has had when it is served."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, list[W]] = {}  # by session, in order of arrival
        self._groups = VirtualTime()
        self._members: defaultdict[Hashable, VirtualTime] = defaultdict(VirtualTime)  # by group
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
        inner, tags = self._inner_tags(), self._tags()
        self._groups.advance(min(tags[request] for request in requests))
        for group in {group_of(request.session) for request in requests}:
            own = [request for request in requests if group_of(request.session) == group]
            self._members[group].advance(min(inner[request] for request in own))
            for request in own:
                self._groups.charge(group, 1.0)
                self._members[group].charge(request.session, 1.0)
            self._members[group].forget()
        self._groups.forget()
        waiting = {group_of(session) for session in self._queues}
        for group in [one for one in self._members if one not in waiting and not self._groups.is_ahead(one)]:
            del self._members[group]

    def order(self, requests: Collection[W]) -> list[W]:
        """Return requests in the order of their turns."""
        tags = self._tags()
        return sorted(requests, key=lambda request: (tags[request], request.due))

    def who_gives_way(self, session: Hashable) -> W | None:
        """Return the request that is served last; None if one more request of a session would be, or nobody waits."""
        tags = self._tags()
        if not tags:
            return None
        last = max(tags, key=tags.__getitem__)
        group = group_of(session)
        if group_of(last.session) == group:
            gives_way = self._members[group].start(session) + self.waiting(session) < self._inner_tags()[last]
        else:
            waiting = sum(group_of(request.session) == group for request in tags)
            gives_way = self._groups.start(group) + waiting < tags[last]
        return last if gives_way else None

    def _inner_tags(self) -> dict[W, float]:
        """Return how many turns each request's session has had of its group's when it is served."""
        return {
            request: self._members[group_of(session)].start(session) + place
            for session, queue in self._queues.items()
            for place, request in enumerate(queue)
        }

    def _tags(self) -> dict[W, float]:
        inner = self._inner_tags()
        places: defaultdict[Hashable, int] = defaultdict(int)
        tags = {}
        for request in sorted(inner, key=lambda one: (inner[one], one.due)):
            group = group_of(request.session)
            tags[request] = self._groups.start(group) + places[group]
            places[group] += 1
        return tags
