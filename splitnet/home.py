"""The places in a user's home that this software writes to, also for users without one."""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from splitnet.errors import ConfigError

PROGRAM = "slimsplit"


def cache_folder() -> Path:
    """Return the folder for what can be made again: `$XDG_CACHE_HOME/slimsplit`, usually ~/.cache/slimsplit."""
    return platformdirs.user_cache_path(PROGRAM)


def data_folder() -> Path:
    """Return the folder for what cannot be made again: `$XDG_DATA_HOME/slimsplit`, usually ~/.local/share/slimsplit."""
    return platformdirs.user_data_path(PROGRAM)


def ensure_home() -> Path | None:
    """Give a user without a home one below the folder for temporary files; return it, or None if there was one.

    In a container started as `--user 12345`, nobody knows that user: Python's own libraries then take "~" for the
    name of a folder, or fail. Call it before anything else is imported. Raises ConfigError if the folder is another
    user's.
    """
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)  # an empty one would be the root folder
    if os.path.expanduser("~") != "~":  # noqa: PTH111 - Path's raises where there is none
        return None
    folder = Path(tempfile.gettempdir()) / f"{PROGRAM}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"no home folder, and {folder} cannot be made ({error.strerror}): set HOME") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"no home folder, and {folder} is not this user's: set HOME")
    os.environ["HOME"] = str(folder)
    _ensure_name()
    return folder


def _ensure_name() -> None:
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the second from Python 3.13 on
        os.environ["USER"] = PROGRAM
