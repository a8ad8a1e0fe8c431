"""A cache of a server part's detections by payload, kept over runs: the same bytes have the same detections.

Every measurement of a bundle sends the same payloads through the same networks, and these are most of its time. A
payload is encoded anew each time, so that sizes and encode times are always measured; what comes of it is looked up.
An interrupted measurement therefore goes on where it stopped. Detections are those of the weights (by the bundle's
digest) and of the code: whoever changes either asks anew. They lie in the user's cache folder, one gigabyte at most.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import diskcache
import numpy as np
import torch

from splitnet.detections import Detections
from splitnet.home import cache_folder

PROJECT = Path(__file__).resolve().parent.parent.parent
DECIDING = (
    "splitnet/nn",
    "splitnet/codec",
    "splitnet/letterbox.py",
    "training/evaluation/systems.py",
    "training/evaluation/measure.py",
)
PATIENCE_S = 60.0  # with another process that writes
MAX_CACHE_BYTES = 1_000_000_000  # the oldest go first
COLUMNS = 6  # of a row: the box, score, label
log = logging.getLogger(__name__)


class BytesOnly(diskcache.Disk):  # type: ignore[misc]
    """Keys and values as they are. What only a pickle could hold is no entry of ours: it is not loaded."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Return a stored value, or None if it is of another kind."""
        is_ours = mode in (diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY)
        return super().fetch(mode, filename, value, read) if is_ours else None


class DetectionCache:
    """The detections of one server part under today's code. A context: it closes the folder's files.

    A folder that cannot be used is said, and then nothing is kept: a measurement never ends for that.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        """Open or make the folder, which others may share. digest: of all that decides what is found."""
        self._folder, self._digest = folder, digest
        self._store: diskcache.Cache | None = None
        try:
            self._store = diskcache.Cache(str(folder), timeout=PATIENCE_S, disk=BytesOnly, size_limit=MAX_CACHE_BYTES)
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            self._give_up(error)

    def get(self, question: bytes, ask: Callable[[], Detections]) -> Detections:
        """Return what is known of a question, or ask and keep the answer."""
        key = hashlib.sha256(self._digest.encode() + question).digest()
        known = self._read(key)
        if known is None or len(known) % (4 * COLUMNS):
            found = ask()
            self._write(key, _packed(found))
            return found
        return _unpacked(known)

    def _read(self, key: bytes) -> bytes | None:
        try:
            known = None if self._store is None else self._store.get(key)
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            self._give_up(error)
            return None
        return known if isinstance(known, bytes) else None

    def _write(self, key: bytes, rows: bytes) -> None:
        try:
            if self._store is not None:
                self._store.set(key, rows)
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        log.warning("%s keeps no detections (%s); delete it, or set XDG_CACHE_HOME", self._folder, error)
        self._store = None

    def __enter__(self) -> DetectionCache:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        if self._store is not None:
            self._store.close()


def detection_cache_of(bundle_digest: str, folder: Path | None = None) -> DetectionCache:
    """Return the detections of a bundle's server part, kept in a folder (the user's cache if none is given)."""
    return DetectionCache(folder or cache_folder() / "detections", f"{bundle_digest} {code_digest()}")


@cache
def code_digest() -> str:
    """Return the SHA-256 (hexadecimal) of all code between a payload and its detections."""
    paths = [path for name in DECIDING for path in (sorted((PROJECT / name).rglob("*.py")) or [PROJECT / name])]
    sources = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    versions = [torch.__version__, np.__version__, cv2.__version__]
    return hashlib.sha256(" ".join([*sources, *versions]).encode()).hexdigest()


def _packed(found: Detections) -> bytes:
    """Return (n, COLUMNS) float32 as bytes; labels are small whole numbers, which float32 keeps exactly."""
    columns = (found.boxes, found.scores[:, None], found.labels[:, None].astype(np.float32))
    return np.concatenate(columns, axis=1, dtype=np.float32).tobytes()


def _unpacked(rows: bytes) -> Detections:
    table = np.frombuffer(rows, np.float32).reshape(-1, COLUMNS)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))
