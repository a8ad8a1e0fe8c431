"""The heap of the C library."""

from __future__ import annotations

import ctypes
import os

M_ARENA_MAX = -8  # of mallopt(3)
ARENAS = 2  # as many as seldom wait for each other here: threads that decode, and those that compute


def trim_heap() -> None:
    """Return its free pages to the system. Does nothing but on glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def share_heap() -> None:
    """Let threads share arenas, or each keeps the most that it ever held. Does nothing but on glibc.

    What the user says by MALLOC_ARENA_MAX is left alone. Call it before threads begin.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None and "MALLOC_ARENA_MAX" not in os.environ:
        choose(M_ARENA_MAX, ARENAS)
