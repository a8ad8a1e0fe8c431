"""SQLite files of ours: made at the first use, refused if another version of the software has made them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from splitnet.errors import ConfigError

LOCK_PATIENCE_S = 5.0  # for another process
READ, WRITE, CREATE = "ro", "rw", "rwc"
WRITE_AHEAD = "journal_mode = WAL"


@dataclass(frozen=True)
class DatabaseFormat:
    """What files of one kind hold.

    schema: statements that are parted by a semicolon at a line's end. version: from 1 on. advice: what to do about a
    file of another one.
    """

    schema: str
    version: int
    advice: str

    def ensure(self, database: sqlite3.Connection, path: Path, makes: bool = True) -> None:
        """Check a file's format, within the transaction that is open. Raises ConfigError if it is another one.

        makes: the tables of an empty file.
        """
        found = database.execute("PRAGMA user_version").fetchone()[0]
        is_empty = not found and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if makes and is_empty:
            for statement in self.schema.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {self.version}")
        elif found != self.version:
            raise ConfigError(f"{path} is of format {found}, this software has {self.version}: {self.advice}")


@contextmanager
def transaction(
    path: Path,
    form: DatabaseFormat,
    in_words: Callable[[sqlite3.Error], str],
    access: str = CREATE,
    pragmas: Sequence[str] = (),
) -> Iterator[sqlite3.Connection]:
    """Yield an open file, in a transaction that is undone if the block fails. Raises ConfigError.

    in_words: what an error means, and what to do. access: READ, WRITE, or CREATE where there may be no file yet.
    """
    try:
        address = f"{path.resolve().as_uri()}?mode={access}"
        database = sqlite3.connect(address, uri=True, timeout=LOCK_PATIENCE_S, isolation_level=None)
        database.row_factory = sqlite3.Row
        try:
            for pragma in pragmas:
                database.execute(f"PRAGMA {pragma}")
            database.execute("BEGIN" if access == READ else "BEGIN IMMEDIATE")
            form.ensure(database, path, makes=access != READ)
            yield database
            database.execute("COMMIT")
        finally:
            database.close()  # what was not committed is undone
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: {in_words(error)}") from error
