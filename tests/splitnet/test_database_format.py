"""SQLite files of ours: made once, kept, and refused where another version has made them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from splitnet.database_format import ensure_format
from splitnet.errors import ConfigError

SCHEMA = "CREATE TABLE facts (name TEXT);\nCREATE TABLE models (name TEXT)"
PATH = Path("state.db")


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as one:
        yield one


def ensure(database: sqlite3.Connection, version: int) -> None:
    ensure_format(database, PATH, SCHEMA, version, "start anew")


def test_an_empty_file_gets_its_tables_and_the_number_of_its_format(database):
    ensure(database, 3)
    tables = database.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    assert tables == [("facts",), ("models",)]
    assert database.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_file_of_the_format_stays_as_it_is(database):
    ensure(database, 3)
    database.execute("INSERT INTO facts VALUES ('kept')")
    ensure(database, 3)
    assert database.execute("SELECT name FROM facts").fetchall() == [("kept",)]


def test_a_file_of_another_format_is_refused_with_what_to_do(database):
    ensure(database, 3)
    with pytest.raises(ConfigError, match=r"^state\.db is of format 3, this software has 4: start anew$"):
        ensure(database, 4)


def test_a_file_of_somebody_else_is_refused_and_left_alone(database):
    database.execute("CREATE TABLE theirs (name TEXT)")
    with pytest.raises(ConfigError, match="of format 0"):
        ensure(database, 1)
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
