"""What a server part has answered to a payload, kept over runs: the same bytes have the same detections.

Every measurement of a bundle sends the same payloads through the same networks, and these are most of its time. A
payload is encoded anew each time, so that sizes and encode times are always measured; what comes of it is looked up.
An interrupted measurement therefore goes on where it stopped. DetectionCache are those of the weights (by the bundle's
digest) and of the code: whoever changes either asks anew.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch

from splitnet.detections import Detections
from splitnet.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent.parent
FOLDER = PROJECT / "runs"  # not in the repository
DECIDING = (
    "splitnet/nn",
    "splitnet/codec",
    "splitnet/letterbox.py",
    "training/evaluation/systems.py",
    "training/evaluation/measure.py",
)
PATIENCE_S = 60.0  # with another process that writes
COLUMNS = 6  # of an answer's rows: the box, score, label
SCHEMA = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "CREATE TABLE IF NOT EXISTS cache (key BLOB PRIMARY KEY, rows BLOB NOT NULL) WITHOUT ROWID",
)


class DetectionCache:
    """The cache of one server part, in a file of their own. A context: it closes the file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises ConfigError if it is something else."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._store = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_S)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(str(error)) from error
        try:
            for statement in SCHEMA:
                self._execute(statement)
        except ConfigError:
            self._store.close()
            raise

    def get(self, question: bytes, ask: Callable[[], Detections]) -> Detections:
        """Return what is known of a question, or ask and keep the answer. Raises ConfigError if the file is damaged."""
        key = hashlib.sha256(question).digest()
        found = self._execute("SELECT rows FROM cache WHERE key = ?", (key,))
        if found:
            return self._unpacked(found[0][0])
        answer = ask()
        self._execute("INSERT OR REPLACE INTO cache VALUES (?, ?)", (key, _packed(answer)))
        return answer

    def _unpacked(self, rows: bytes) -> Detections:
        if len(rows) % (4 * COLUMNS):
            raise self._unusable(f"an answer of {len(rows)} bytes")
        table = np.frombuffer(rows, np.float32).reshape(-1, COLUMNS)
        return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))

    def _execute(self, statement: str, values: tuple[bytes, ...] = ()) -> list[Any]:
        try:
            return self._store.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, reason: str) -> ConfigError:
        return ConfigError(f"{self._path} holds no cache ({reason}); delete it to measure anew")

    def __enter__(self) -> DetectionCache:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._store.close()


def detection_cache_of(bundle_digest: str, folder: Path | None = None) -> DetectionCache:
    """Return the cache of a bundle's server part under today's code, kept in a folder (runs/ if none is given)."""
    digest = hashlib.sha256(f"{bundle_digest} {code_digest()}".encode()).hexdigest()
    return DetectionCache((folder or FOLDER) / f"cache-{digest[:16]}.sqlite")


@cache
def code_digest() -> str:
    """Return the SHA-256 (hexadecimal) of all code between a payload and its detections."""
    paths = [path for name in DECIDING for path in (sorted((PROJECT / name).rglob("*.py")) or [PROJECT / name])]
    sources = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    versions = [torch.__version__, np.__version__, cv2.__version__]
    return hashlib.sha256(" ".join([*sources, *versions]).encode()).hexdigest()


def _packed(answer: Detections) -> bytes:
    """Return (n, COLUMNS) float32 as bytes; labels are small whole numbers, which float32 keeps exactly."""
    columns = (answer.boxes, answer.scores[:, None], answer.labels[:, None].astype(np.float32))
    return np.concatenate(columns, axis=1, dtype=np.float32).tobytes()
