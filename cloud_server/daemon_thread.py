"""Work that may take long, on a thread that the end of the process does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Return what a function returns, or raise what it raises."""
    outcome: Future[T] = Future()

    def run() -> None:
        with suppress(InvalidStateError):  # cancelled: nobody waits any more
            try:
                outcome.set_result(function())
            except Exception as error:
                outcome.set_exception(error)

    threading.Thread(target=run, name="waited for", daemon=True).start()
    return await asyncio.wrap_future(outcome)
