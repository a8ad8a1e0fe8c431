"""Files that are there whole or not at all, whenever the process or the power ends."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes | memoryview | str) -> None:
    """Write a file, text as UTF-8; what was there stays until the new one is whole and on disk. OSError if it fails.

    A link is followed. What is no file, such as a pipe or /dev/stdout, is just written to.
    """
    path = path.resolve() if path.is_symlink() else path
    content = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # of this process: others may write the same file
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_json(path: Path, values: object) -> None:
    """Write values as JSON, a line each, all or nothing. OSError if it fails."""
    write_atomically(path, json.dumps(values, indent=1) + "\n")
