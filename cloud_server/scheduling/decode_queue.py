"""Payloads that wait to be decoded: sessions take turns by the seconds that theirs have cost. Pure.

Start-time fair queueing as in `fair_queue`, with seconds instead of frames. An image of 16 megapixels takes a hundred
times as long as a canvas, and whoever sends such images pays for that. One payload of a session is decoded at a time:
no session takes all threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class OfSession(Protocol):
    """What waits."""

    @property
    def session(self) -> Hashable:
        """Who pays for it."""


T = TypeVar("T", bound=OfSession)


class DecodeQueue(Generic[T]):
    """Who is decoded next."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[T]] = {}  # by session
        self._busy: set[Hashable] = set()  # sessions of which one is being decoded
        self._finished_s: dict[Hashable, float] = {}  # virtual times that are ahead of _now_s
        self._now_s = 0.0

    def add(self, item: T) -> None:
        """Let something wait behind the others of its session."""
        self._waiting.setdefault(item.session, deque()).append(item)

    def take(self) -> T | None:
        """Remove and return what is decoded next; None if nothing waits that may be."""
        free = [session for session in self._waiting if session not in self._busy]
        if not free:
            return None
        session = min(free, key=self._start_s)
        self._now_s = max(self._now_s, self._start_s(session))
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
        self._finished_s[session] = self._start_s(session) + seconds
        self._finished_s = {one: time for one, time in self._finished_s.items() if time > self._now_s}

    def _start_s(self, session: Hashable) -> float:
        return max(self._now_s, self._finished_s.get(session, 0.0))
