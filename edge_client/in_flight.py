"""The frames that have been sent and await their answer, each for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from edge_client.encoder_runtime import EncodedFrame
from edge_client.pacer import CapturedFrame


@dataclass(frozen=True)
class SentFrame:
    """A frame and how it was encoded."""

    frame: CapturedFrame
    encoded: EncodedFrame


class InFlight:
    """A table of sent frames. Use it from the event loop's thread only."""

    def __init__(self, timeout_s: float, on_timeout: Callable[[int], None]) -> None:
        self._timeout_s = timeout_s
        self._on_timeout = on_timeout
        self._sent: dict[int, tuple[SentFrame, asyncio.TimerHandle]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """Return the number of frames that await their answer."""
        return len(self._sent)

    def add(self, sent: SentFrame) -> None:
        """Remember a frame; `on_timeout` is called with its id if `pop` does not come in time."""
        frame_id = sent.frame.frame_id
        timer = asyncio.get_running_loop().call_later(self._timeout_s, self._on_timeout, frame_id)
        self._sent[frame_id] = sent, timer
        self._empty.clear()

    def pop(self, frame_id: int) -> SentFrame | None:
        """Return a frame that is answered; None if no such frame is under way."""
        sent, timer = self._sent.pop(frame_id, (None, None))
        if timer is not None:
            timer.cancel()
        if not self._sent:
            self._empty.set()
        return sent

    def pop_all(self) -> list[SentFrame]:
        """Return every frame under way: the link is down, none of them will be answered."""
        popped = [self.pop(frame_id) for frame_id in list(self._sent)]
        return [sent for sent in popped if sent is not None]

    async def wait_until_empty(self) -> None:
        """Wait until every frame is answered or lost."""
        await self._empty.wait()
