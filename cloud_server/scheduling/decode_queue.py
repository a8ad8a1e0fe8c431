"""Payloads that wait to be decoded: sessions take turns by the seconds that theirs have cost. Pure.

Start-time fair queueing at two levels as in `fair_queue`, with seconds instead of frames. An image of 16 megapixels
takes a hundred times as long as a canvas, and whoever sends such images pays for that. One payload of a session is
decoded at a time, and a group leaves a thread to the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from cloud_server.scheduling.payer import group_of
from cloud_server.scheduling.virtual_time import VirtualTime


class OfSession(Protocol):
    """What waits."""

    @property
    def session(self) -> Hashable:
        """Who pays for it."""


T = TypeVar("T", bound=OfSession)


class DecodeQueue(Generic[T]):
    """Who is decoded next."""

    def __init__(self, threads: int = 2) -> None:
        """Take how many decode at once."""
        self._most_of_group = max(1, threads - 1)
        self._waiting: dict[Hashable, deque[T]] = {}  # by session
        self._busy: set[Hashable] = set()  # sessions of which one is being decoded
        self._groups = VirtualTime()
        self._members: defaultdict[Hashable, VirtualTime] = defaultdict(VirtualTime)  # by group

    def add(self, item: T) -> None:
        """Let something wait behind the others of its session."""
        self._waiting.setdefault(item.session, deque()).append(item)

    def take(self) -> T | None:
        """Remove and return what is decoded next; None if nothing waits that may be."""
        busy = Counter(group_of(session) for session in self._busy)
        may = [one for one in self._waiting if one not in self._busy and busy[group_of(one)] < self._most_of_group]
        if not may:
            return None
        session = min(may, key=lambda one: (busy[group_of(one)], *self._turn(one)))
        of_group, of_member = self._turn(session)
        self._groups.advance(of_group)
        self._members[group_of(session)].advance(of_member)
        queue = self._waiting[session]
        item = queue.popleft()
        if not queue:
            del self._waiting[session]
        self._busy.add(session)
        return item

    def discard(self, item: T) -> None:
        """Let something go that nobody wants decoded any more, if it still waits."""
        queue = self._waiting.get(item.session)
        if queue is not None and item in queue:
            queue.remove(item)
            if not queue:
                del self._waiting[item.session]

    def charge(self, session: Hashable, seconds: float) -> None:
        """Say what the payload of a session has cost that was taken: its next one may be."""
        self._busy.discard(session)
        group = group_of(session)
        for time, flow in ((self._groups, group), (self._members[group], session)):
            time.charge(flow, seconds)
            time.forget()
        waiting = {group_of(one) for one in (*self._waiting, *self._busy)}
        for one in [one for one in self._members if one not in waiting and not self._groups.is_ahead(one)]:
            del self._members[one]

    def _turn(self, session: Hashable) -> tuple[float, float]:
        group = group_of(session)
        return self._groups.start(group), self._members[group].start(session)
