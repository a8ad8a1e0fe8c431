"""The payloads that the server holds for each group of payers, all of its sessions together. On the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Hashable

from splitnet.messages import MAX_PAYLOAD_BYTES

MAX_HELD_BYTES = 8 * MAX_PAYLOAD_BYTES


class HeldBytes:
    """Counts them, and lets sessions wait until their group holds less than it may.

    A session looks before it reads a message, so each may exceed the limit by one.
    """

    def __init__(self, most: int = MAX_HELD_BYTES) -> None:
        """Take how many bytes a group may hold before its sessions are not read any more."""
        self._most = most
        self._held: Counter[Hashable] = Counter()
        self._waiting: defaultdict[Hashable, set[asyncio.Future[None]]] = defaultdict(set)

    def of(self, group: Hashable) -> int:
        """Return how many bytes a group holds."""
        return self._held[group]

    def change(self, group: Hashable, by: int) -> None:
        """Count more, or fewer."""
        self._held[group] += by
        if not self._held[group]:
            del self._held[group]
        if self._held[group] < self._most:
            for one in self._waiting.pop(group, ()):
                if not one.done():
                    one.set_result(None)

    async def room(self, group: Hashable) -> None:
        """Wait until a group holds less than it may."""
        while self._held[group] >= self._most:
            changed = asyncio.get_running_loop().create_future()
            self._waiting[group].add(changed)
            try:
                await changed
            finally:
                self._waiting[group].discard(changed)
                if not self._waiting[group]:
                    del self._waiting[group]
