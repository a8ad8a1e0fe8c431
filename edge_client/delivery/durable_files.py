"""Writing so that a power cut at any byte leaves what was before, or what was meant.

Everything goes through here, step by step, so that a test can cut the power at every one of them.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from splitnet.errors import OutputError


class DurableFiles:
    """Steps on a disk. Each raises OSError where the disk does."""

    def step(self, what: str, path: Path) -> None:
        """Learn of a step before it is made."""

    def make_folder(self, path: Path) -> None:
        """Make a folder, and those above it."""
        self.step("make", path)
        path.mkdir(parents=True, exist_ok=True)

    def append(self, path: Path, data: bytes) -> None:
        """Write further bytes to the end of a file. They need not survive: whoever goes on checks the whole."""
        self.step("append", path)
        with path.open("ab") as file:
            file.write(data)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file that nobody looks at yet, to the disk."""
        self.step("write", path)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            self.step("sync", path)
            os.fsync(file.fileno())

    def sync(self, path: Path) -> None:
        """Bring a file, or the names in a folder, to the disk."""
        self.step("sync", path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, to: Path) -> None:
        """Give a file or folder another name in the same folder, on disk."""
        self.step("rename", path)
        path.replace(to)
        self.sync(to.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all that is in it; nothing if it is gone."""
        self.step("remove", path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):
                path.unlink()


def in_words(error: OSError, path: Path) -> OutputError:
    """Return what a failed disk means, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"the disk with {path} is full: free some, or give another place with --models")
    return OutputError(f"{path} cannot be written ({error.strerror}): give another place with --models")
