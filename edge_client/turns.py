"""Turns at what several cameras share: first come, first served."""

from __future__ import annotations

from threading import Condition
from types import TracebackType


class Turns:
    """A lock that goes to whoever has waited longest; `with turns:` holds it.

    A camera that comes back stands behind all that wait. So none of them waits for two turns of the same other one,
    which an ordinary lock does not promise: it may go again and again to the thread that has just let it go.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._next_ticket = 0
        self._served = 0

    @property
    def waiting(self) -> int:
        """How many hold it or stand in line."""
        with self._changed:
            return self._next_ticket - self._served

    def __enter__(self) -> None:
        """Wait for the turn."""
        with self._changed:
            ticket = self._next_ticket
            self._next_ticket += 1
            self._changed.wait_for(lambda: self._served == ticket)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the next one have it."""
        with self._changed:
            self._served += 1
            self._changed.notify_all()
