"""What a device knows of its models, in one SQLite file (WAL): which it runs, which is on trial, and what it trusts.

Whatever belongs together changes in one transaction: version counters, the last timestamp, and the model itself.
Folders are only believed if a row names them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splitnet.database_format import WRITE_AHEAD, DatabaseFormat, transaction
from splitnet.updates.delivery import Phase

FILE_NAME = "models.sqlite"
CURRENT, PREVIOUS, TRIAL = "current", "previous", "trial"
FORMAT = DatabaseFormat(
    """
CREATE TABLE models (
    folder TEXT PRIMARY KEY, digest TEXT NOT NULL, version INTEGER NOT NULL, form TEXT NOT NULL, bytes INTEGER NOT NULL,
    used INTEGER NOT NULL
);
CREATE TABLE slots (slot TEXT PRIMARY KEY, folder TEXT NOT NULL REFERENCES models (folder));
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE refused (
    version INTEGER PRIMARY KEY, tries INTEGER NOT NULL, is_final INTEGER NOT NULL, reason TEXT NOT NULL
);
""",
    1,
    "give another --models",
)


@dataclass(frozen=True)
class Model:
    """A device half on disk. version: that it was signed as; 0: it was never signed, but came with the software."""

    folder: Path
    digest: str
    version: int
    form: str
    bytes: int = 0


@dataclass(frozen=True)
class Trust:
    """TUF's metadata as it was last verified; empty where there was none yet. signed_at: seconds since 1970."""

    root: bytes = b""
    timestamp: bytes = b""
    snapshot: bytes = b""
    targets: bytes = b""
    signed_at: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How the last offer has ended."""

    phase: Phase = Phase.IDLE
    target: str = ""
    reason: str = ""


class ModelState:
    """The file. Calls take milliseconds, and may wait for another process."""

    def __init__(self, folder: Path, step: Callable[[str, Path], None] = lambda what, path: None) -> None:
        """Take the folder of the models. step: is told before each transaction ends."""
        self.folder = folder
        self._path = folder / FILE_NAME
        self._step = step

    def in_slot(self, slot: str) -> Model | None:
        """Return the model in a slot."""
        with self._connected() as database:
            return self._slot(database, slot)

    def models(self) -> list[Model]:
        """Return all models, the longest unused first."""
        with self._connected() as database:
            return [self._model(row) for row in database.execute("SELECT * FROM models ORDER BY used, folder")]

    def slots(self) -> dict[str, str]:
        """Return the names of the folders in slots."""
        with self._connected() as database:
            return {row["slot"]: row["folder"] for row in database.execute("SELECT * FROM slots")}

    def add(self, model: Model, trust: Trust | None = None) -> None:
        """Keep a model that is whole and on disk, and with it what it was verified by."""
        with self._connected() as database:
            values = (model.folder.name, model.digest, model.version, model.form, model.bytes, _next_use(database))
            database.execute("INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?)", values)
            if trust is not None:
                _keep_trust(database, trust)

    def begin_trial(self, model: Model) -> None:
        """Put a model on trial: whoever starts next begins with the current one."""
        with self._connected() as database:
            database.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (TRIAL, model.folder.name))

    def commit(self, model: Model, outcome: Outcome) -> None:
        """Make a model the current one, and the one before the previous one."""
        with self._connected() as database:
            before = self._slot(database, CURRENT)
            if before is not None and before.folder != model.folder:
                database.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (PREVIOUS, before.folder.name))
            database.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (CURRENT, model.folder.name))
            database.execute("DELETE FROM slots WHERE slot = ?", (TRIAL,))
            database.execute("UPDATE models SET used = ? WHERE folder = ?", (_next_use(database), model.folder.name))
            _keep_outcome(database, outcome)

    def end_trial(self, version: int, outcome: Outcome, is_final: bool) -> int:
        """Go back to the current model; returns how often a trial of this version has ended so."""
        with self._connected() as database:
            database.execute("DELETE FROM slots WHERE slot = ?", (TRIAL,))
            return _refuse(database, version, outcome, is_final)

    def drop_trial(self) -> None:
        """End a trial that has come to no end: the run was over before."""
        with self._connected() as database:
            database.execute("DELETE FROM slots WHERE slot = ?", (TRIAL,))

    def refuse(self, version: int, outcome: Outcome, is_final: bool = True) -> int:
        """Remember that a version was refused, and why; returns how often it has been."""
        with self._connected() as database:
            return _refuse(database, version, outcome, is_final)

    def refusal(self, version: int) -> str | None:
        """Return why a version is not taken again; None if it may be."""
        with self._connected() as database:
            row = database.execute("SELECT * FROM refused WHERE version = ? AND is_final", (version,)).fetchone()
            return None if row is None else str(row["reason"])

    def outcome(self) -> Outcome:
        """Return how the last offer has ended."""
        with self._connected() as database:
            values = json.loads(_fact(database, "outcome", b"{}"))
            return Outcome(**{**values, "phase": Phase(values["phase"])}) if values else Outcome()

    def trust(self) -> Trust:
        """Return what was verified last."""
        with self._connected() as database:
            roles = {name: _fact(database, name, b"") for name in ("root", "timestamp", "snapshot", "targets")}
            return Trust(**roles, signed_at=float(_fact(database, "signed_at", b"0")))

    def keep_trust(self, trust: Trust) -> None:
        """Keep what was verified."""
        with self._connected() as database:
            _keep_trust(database, trust)

    def forget(self, model: Model) -> None:
        """Forget a model that is in no slot."""
        with self._connected() as database:
            database.execute(
                "DELETE FROM models WHERE folder = ? AND folder NOT IN (SELECT folder FROM slots)", (model.folder.name,)
            )

    def _slot(self, database: sqlite3.Connection, slot: str) -> Model | None:
        query = "SELECT models.* FROM models JOIN slots USING (folder) WHERE slot = ?"
        row = database.execute(query, (slot,)).fetchone()
        return None if row is None else self._model(row)

    def _model(self, row: sqlite3.Row) -> Model:
        return Model(self.folder / row["folder"], row["digest"], row["version"], row["form"], row["bytes"])

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Yield the open file, in a transaction that is undone if the block fails. Raises ConfigError."""
        with transaction(self._path, FORMAT, _in_words, pragmas=(WRITE_AHEAD, "synchronous = FULL")) as database:
            yield database
            self._step("commit", self._path)
        self._step("committed", self._path)


def _in_words(error: sqlite3.Error) -> str:
    words = "the disk is full" if "full" in str(error) else str(error)
    return f"{words}: free some disk, or give another place with --models"


def _fact(database: sqlite3.Connection, name: str, otherwise: bytes) -> bytes:
    row = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return otherwise if row is None else bytes(row["value"])


def _keep_fact(database: sqlite3.Connection, name: str, value: bytes) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _keep_trust(database: sqlite3.Connection, trust: Trust) -> None:
    for name, value in asdict(trust).items():
        _keep_fact(database, name, value if isinstance(value, bytes) else repr(value).encode())


def _keep_outcome(database: sqlite3.Connection, outcome: Outcome) -> None:
    values: dict[str, Any] = {**asdict(outcome), "phase": outcome.phase.value}
    _keep_fact(database, "outcome", json.dumps(values).encode())


def _refuse(database: sqlite3.Connection, version: int, outcome: Outcome, is_final: bool) -> int:
    row = database.execute("SELECT tries FROM refused WHERE version = ?", (version,)).fetchone()
    tries = 1 + (0 if row is None else int(row["tries"]))
    database.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", (version, tries, is_final, outcome.reason))
    _keep_outcome(database, outcome)
    return tries


def _next_use(database: sqlite3.Connection) -> int:
    return 1 + int(database.execute("SELECT coalesce(max(used), 0) FROM models").fetchone()[0])
