"""Names for C libraries, which take no bytes that are not UTF-8, and of which some read more into a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_ACCESS = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)  # a name for the file: a pipe is not opened by it


@contextmanager
def plain_name(path: Path) -> Iterator[str]:
    """Yield another name of an existing file or folder, of plain signs only, which is good inside the block.

    FFmpeg takes what stands before a colon for a protocol. Raises OSError if there is no such file.
    """
    descriptor = os.open(path, _NO_ACCESS | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
