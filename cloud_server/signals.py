"""Signals from the first instant on: before there is an event loop, and then as its events."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class EarlySignals:
    """What arrives while libraries are still imported.

    SIGTERM and SIGINT end the process at once: nothing has begun yet. Process 1 of a container needs a handler for
    that, since the system gives it no default. SIGHUP is kept for later; by default it would end the process.
    """

    def __init__(self) -> None:
        self.refresh_asked = False

    def install(self) -> None:
        """Handle the signals until `as_events` does."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        signal.signal(signal.SIGHUP, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.refresh_asked = True


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(0)


@dataclass(frozen=True)
class Signals:
    """Events that signals set."""

    stop: asyncio.Event  # the first SIGTERM or SIGINT
    force: asyncio.Event  # the second
    refresh: asyncio.Event  # SIGHUP


@contextmanager
def as_events(early: EarlySignals) -> Iterator[Signals]:
    """Yield events for the signals that arrive in this block, and for a SIGHUP of before. For the event loop."""
    import asyncio  # here, because the handlers of before come before all imports

    signals = Signals(asyncio.Event(), asyncio.Event(), asyncio.Event())
    loop = asyncio.get_running_loop()

    def end() -> None:
        (signals.force if signals.stop.is_set() else signals.stop).set()

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: signals.refresh.set}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    if early.refresh_asked:
        signals.refresh.set()
    try:
        yield signals
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
