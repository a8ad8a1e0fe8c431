"""Server-sent events: what the page shows, once a second, made once for all who look, and only while somebody does.

Every event is whole, so one that a slow viewer misses is no loss. (WHATWG HTML, 9.2 Server-sent events.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL_S = 1.0
MAX_VIEWERS = 32
MAX_STREAM_S = 3600.0  # then a browser opens another one by itself
WRITE_TIMEOUT_S = 10.0  # for a viewer that takes nothing
FIRST_LINE = b"retry: 2000\n\n"


class Broadcaster:
    """Makes events while there are viewers."""

    def __init__(self, make: Callable[[bool], str], interval_s: float = INTERVAL_S) -> None:
        """Take what makes the data of an event, in one line; called with whether it is a viewer's first."""
        self._make = make
        self._interval_s = interval_s
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def viewers(self) -> int:
        """The number of open streams."""
        return len(self._viewers)

    def enter(self) -> asyncio.Queue[bytes | None] | None:
        """Return a queue of events for one more viewer, None being the end; None if there are enough."""
        if self._closed or len(self._viewers) >= MAX_VIEWERS:
            return None
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._viewers.add(queue)
        queue.put_nowait(self._event(True))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return queue

    def leave(self, queue: asyncio.Queue[bytes | None]) -> None:
        """Forget a viewer."""
        self._viewers.discard(queue)
        if not self._viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._give(None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self._give(self._event(False))

    def _give(self, event: bytes | None) -> None:
        for queue in self._viewers:
            if queue.full():
                queue.get_nowait()  # a slow viewer gets the newest
            queue.put_nowait(event)

    def _event(self, is_first: bool) -> bytes:
        return f"event: fleet\ndata: {self._make(is_first)}\n\n".encode()
