"""An event loop that does not wait: where nothing can be read or written, its clock goes on to the next timer."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

GRACE_S = 0.002  # real time for the kernel to hand over what was sent over loopback


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a `VirtualTimeLoop`. Sockets are real ones; threads and processes are not waited for."""

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        loop = VirtualTimeLoop()
        try:
            loop.run_until_complete(test(*arguments, **keywords))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return run


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock starts at 0 and stands still while there is something to do."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self._advance))

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def _advance(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.SelectSelector):
    """Takes what is ready; lets time pass where nothing is."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, after the next timer's time if nothing is."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        found = super().select(GRACE_S)
        if not found:
            self._advance(timeout)
        return found
