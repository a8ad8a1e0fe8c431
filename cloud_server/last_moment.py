"""The last moment of a daemon that was told to end: whatever still waits then, it ends."""

from __future__ import annotations

import faulthandler
import os

LAST_S = 5.0  # after the grace: more than all bounded steps take together


def end_within(seconds: float) -> None:
    """End this process after so long, with exit code 1, unless it has ended before.

    The C library's thread that sees to it needs neither the event loop nor Python's lock.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=_nowhere())


def _nowhere() -> int:
    """Return where the traceback goes: perhaps nobody reads stderr, and to write there would be to wait."""
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
