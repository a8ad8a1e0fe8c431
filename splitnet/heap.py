"""The heap of the C library."""

from __future__ import annotations

import ctypes


def trim_heap() -> None:
    """Return its free pages to the system. Does nothing but on glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
