"""SQLite files of ours: made once, kept, and refused where another version has made them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from splitnet.database_format import READ, DatabaseFormat, transaction
from splitnet.errors import ConfigError

SCHEMA = "CREATE TABLE facts (name TEXT);\nCREATE TABLE models (name TEXT)"
PATH = Path("state.db")
FORM = DatabaseFormat(SCHEMA, 1, "start anew")


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as one:
        yield one


def ensure(database: sqlite3.Connection, version: int) -> None:
    DatabaseFormat(SCHEMA, version, "start anew").ensure(database, PATH)


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


def test_an_empty_file_that_is_only_read_is_refused(tmp_path):
    path = tmp_path / "state.db"
    path.touch()
    with pytest.raises(ConfigError, match="of format 0"), transaction(path, FORM, str, READ):
        pytest.fail("it has no tables")


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "it is #1?.db"  # signs that mean something in addresses
    with transaction(path, FORM, str) as database:
        database.execute("INSERT INTO facts VALUES ('kept')")
    with pytest.raises(ZeroDivisionError), transaction(path, FORM, str) as database:
        database.execute("INSERT INTO facts VALUES ('lost')")
        raise ZeroDivisionError
    with transaction(path, FORM, str, READ) as database:
        assert [row["name"] for row in database.execute("SELECT name FROM facts")] == ["kept"]


def test_an_error_of_the_file_is_told_in_words(tmp_path):
    missing = transaction(tmp_path / "no folder" / "gone", FORM, lambda error: "that is bad")
    with pytest.raises(ConfigError, match=r"gone: that is bad$"), missing:
        pytest.fail("there is no folder")
