"""SIGINT, SIGTERM and SIGHUP: the end at once while a command starts, a clean end of a run, and then the end at once.

What the parent has switched off (nohup, a background job of a script) stays off.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FIRST_PROCESS = 1


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let each of the signals end the process at once in this block, without a word and whatever it does just then.

    That is the system's default, but not for process 1 of a container, which has none.
    """
    if threading.current_thread() is not threading.main_thread():  # a program that runs the command has its own
        yield
        return
    before = {number: signal.getsignal(number) for number in _heard()}
    end_at_once()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once() -> None:
    """Do so from now on."""
    if os.getpid() != FIRST_PROCESS:
        for number in _heard():
            signal.signal(number, signal.SIG_DFL)
        return
    for number in _heard():
        signal.signal(number, lambda number, frame: os._exit(128 + number))
    _watch()


def at_first_signal(stop: Callable[[], None]) -> None:
    """Call `stop`, in the running event loop, at the first signal; a second one ends the process at once."""
    loop, numbers = asyncio.get_running_loop(), _heard()

    def first() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        end_at_once()
        stop()

    for number in numbers:
        loop.add_signal_handler(number, first)


def _heard() -> list[signal.Signals]:
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def _watch() -> None:
    """End the process from a thread: handlers wait while the main thread is inside a library, which may take long."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait() -> None:
        while heard := os.read(reading, 1):
            if heard[0] in ENDING:
                os._exit(128 + heard[0])

    threading.Thread(target=wait, name="signals", daemon=True).start()
