"""SQLite files of ours: made at the first use, refused if another version of the software has made them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from splitnet.errors import ConfigError


def ensure_format(database: sqlite3.Connection, path: Path, schema: str, version: int, advice: str) -> None:
    """Make the tables of an empty file, within the transaction that is open. ConfigError if it is of another format.

    schema: statements that are parted by a semicolon at a line's end. version: of the format, from 1 on. advice: what
    to do about a file of another one.
    """
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if not found and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        for statement in schema.split(";\n"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {version}")
    elif found != version:
        raise ConfigError(f"{path} is of format {found}, this software has {version}: {advice}")
