"""Idle memory, given back once everything is loaded: a small board has better use for it.

The entropy coder's machine code is made, or loaded, by LLVM at the start. Tens of megabytes of LLVM's own code then
stay resident although it is not called again. If it is needed after all, the kernel maps it again.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from splitnet.heap import trim_heap

MADV_DONTNEED = 4  # forget these pages; on a library's code, which is never written, this loses nothing
IDLE_LIBRARIES = ("libllvmlite",)


def release_idle_memory() -> None:
    """Return free heap, and the code of libraries that only loading needs. Does nothing where it cannot."""
    trim_heap()
    try:
        libc = ctypes.CDLL(None)
        maps = Path("/proc/self/maps").read_text()
    except (OSError, AttributeError):  # neither Linux nor glibc
        return
    for start, end in idle_code(maps):
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)


def idle_code(maps: str) -> list[tuple[int, int]]:
    """Return start and end of the idle libraries' code, from the text of /proc/self/maps (proc(5)).

    Only executable mappings: the linker has written relocations into others, and those would be lost.
    """
    ranges = []
    for line in maps.splitlines():
        addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
        if permissions == "r-xp" and name and Path(name[0]).name.startswith(IDLE_LIBRARIES):
            start, end = addresses.split("-")
            ranges.append((int(start, 16), int(end, 16)))
    return ranges
