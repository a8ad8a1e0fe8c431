"""The frames that have been sent and await their answer, each for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge_client.frames import SentFrame


class InFlight:
    """A table of sent frames. Use it from the event loop's thread only."""

    def __init__(self, on_timeout: Callable[[int], None]) -> None:
        self._on_timeout = on_timeout
        self._sent: dict[int, tuple[SentFrame, asyncio.TimerHandle]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """Return the number of frames that await their answer."""
        return len(self._sent)

    def add(self, sent: SentFrame, timeout_s: float) -> None:
        """Remember a frame; `on_timeout` is called with its id if neither `extend` nor `pop` comes in time."""
        self._sent[sent.frame.frame_id] = sent, self._timer(sent.frame.frame_id, timeout_s)
        self._empty.clear()

    def extend(self, frame_id: int, timeout_s: float) -> None:
        """Give a frame so much more time from now on, if it is in flight."""
        if frame_id in self._sent:
            sent, timer = self._sent[frame_id]
            timer.cancel()
            self._sent[frame_id] = sent, self._timer(frame_id, timeout_s)

    def _timer(self, frame_id: int, timeout_s: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(timeout_s, self._on_timeout, frame_id)

    def pop(self, frame_id: int) -> SentFrame | None:
        """Return a frame that is answered; None if no such frame is in flight."""
        sent, timer = self._sent.pop(frame_id, (None, None))
        if timer is not None:
            timer.cancel()
        if not self._sent:
            self._empty.set()
        return sent

    def pop_all(self) -> list[SentFrame]:
        """Return every frame in flight: the link is down, none of them will be answered."""
        popped = [self.pop(frame_id) for frame_id in list(self._sent)]
        return [sent for sent in popped if sent is not None]

    async def wait_until_empty(self) -> None:
        """Wait until every frame is answered or lost."""
        await self._empty.wait()
