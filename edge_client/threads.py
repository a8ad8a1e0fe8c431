"""Threads that an event loop waits for, and how they make room for others."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

LOW_PRIORITY = 5  # niceness beyond the process's own: a third of the processor against its other threads
LEAST_PRIORITY = 19


def in_thread(function: Callable[[], None], name: str) -> asyncio.Future[None]:
    """Run a function in a daemon thread, in the caller's context; the future ends with it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has closed: nothing waits for this thread any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True).start()
    return done


async def in_background(function: Callable[[], T]) -> T:
    """Return what a function returns, run in a thread that yields to all others; raises what it raises."""
    made: list[T] = []

    def run() -> None:
        lower_priority()
        made.append(function())

    await in_thread(run, "background")
    return made[0]


def lower_priority() -> None:
    """Let the calling thread yield to others. Does nothing where a single thread has no priority of its own."""
    if os.name == "posix" and os.uname().sysname == "Linux":  # elsewhere the number would name another process
        thread = threading.get_native_id()
        with suppress(OSError):
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(own + LOW_PRIORITY, LEAST_PRIORITY))
