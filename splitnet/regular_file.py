"""Files whose size is known before they are read: no pipe, no device, no more bytes than expected."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file, or of what a link to one names.

    Raises OSError if it is anything else (a pipe without a writer would wait for ever, /dev/zero never end), or larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe must not wait either
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"{found.st_size} bytes, over {most_bytes}", str(path))
        return file.read(most_bytes)
