"""Free memory goes back to the system: glibc keeps it in its arenas for the next time, which may not come.

A flood, or a batch larger than usual, leaves hundreds of megabytes of such pages.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import psutil

from cloud_server.daemon_thread import in_daemon_thread
from splitnet.heap import trim_heap

LOOK_INTERVAL_S = 10.0
SLACK_BYTES = 32_000_000  # that the process may grow by before it is worth the walk through all arenas, of milliseconds

logger = logging.getLogger(__name__)


class ReturnedMemory:
    """Gives free memory back when the process has grown."""

    def __init__(self, resident: Callable[[], int] | None = None, trim: Callable[[], None] | None = None) -> None:
        """resident: what the process holds, in bytes. trim: gives back what is free."""
        self._resident = resident or _resident
        self._trim = trim or trim_heap
        self._least = sys.maxsize

    def settle(self) -> None:
        """Give back what loading has left, and let garbage collections pass over all that stays.

        Otherwise Python looks at everything only after a quarter of all objects is new, and libraries have 10^5 of
        them; what dies young may wait for that.
        """
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        gc.collect()  # with nothing left to look at: the quarter is of few from now on
        self._least = sys.maxsize  # bundles may have come
        self._give_back()

    def look(self) -> bool:
        """Give back what is free if the process is larger than it was at its least; returns whether it was.

        Where nothing is free, this takes a fraction of a millisecond.
        """
        if self._resident() - self._least < SLACK_BYTES:
            return False
        self._give_back()
        return True

    def _give_back(self) -> None:
        before = self._resident()
        self._trim()
        after = self._resident()
        self._least = min(self._least, after)
        logger.debug("memory given back", extra={"before_mb": before // 10**6, "after_mb": after // 10**6})


async def keep_giving_back(
    memory: ReturnedMemory, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> NoReturn:
    """Look at the process's memory every now and then, on a thread beside."""
    while True:
        await sleep(LOOK_INTERVAL_S)
        await in_daemon_thread(memory.look)


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)
