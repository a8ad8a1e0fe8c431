"""The devices that a server knows, in an SQLite file: names, public keys, hashes of tokens, limits, invitations.

SQLite locks the file against other processes, two daemons included. A write that fails, on a full disk for instance,
leaves it as it was. Times are seconds since 1970, given by the caller.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from splitnet.database_format import LOCK_PATIENCE_S, READ, WRITE, DatabaseFormat, transaction
from splitnet.enrolment import is_same
from splitnet.errors import AccessError, ConfigError

FILE_NAME = "devices.sqlite"
MAX_DEVICES = 10_000
MAX_INVITATIONS = 100  # open at once: each makes a guess more likely to hit
FRESH_S = 5.0
TOKEN_BYTES = 32

FORMAT = DatabaseFormat(
    """
CREATE TABLE devices (
    name TEXT PRIMARY KEY, root BLOB, key BLOB, key_id TEXT UNIQUE, token_hash BLOB UNIQUE, since REAL NOT NULL,
    revoked REAL, bundles TEXT, max_sessions INTEGER, max_fps REAL
);
CREATE TABLE invitations (name TEXT PRIMARY KEY, key BLOB NOT NULL, expires REAL NOT NULL);
""",
    1,
    "update it, or start anew",
)


@dataclass(frozen=True)
class DeviceRecord:
    """A device, and what it may do."""

    name: str
    since: float  # when it was enrolled
    root: bytes | None = None  # certificate, DER
    key: bytes | None = None  # its public half, 32 bytes
    key_id: str | None = None
    token_hash: bytes | None = None
    revoked: float | None = None  # when
    bundles: tuple[str, ...] | None = None  # names or digests; None: all
    max_sessions: int | None = None  # None: the server's own limit
    max_fps: float | None = None

    @property
    def may_come(self) -> bool:
        """Whether it has not been revoked."""
        return self.revoked is None


@dataclass(frozen=True)
class Invitation:
    """A code that has not been used. key: what the code stands for (`enrolment.code_key`)."""

    name: str
    key: bytes
    expires: float


@dataclass(frozen=True)
class FileState:
    """What changes when the file does."""

    facts: tuple[int, ...]
    is_fresh: bool  # written so lately that a clock's tick may hide the next change


def token_hash(token: str) -> bytes:
    """Return what is kept of a token: it is random enough that a plain SHA-256 cannot be turned back."""
    return hashlib.sha256(token.encode()).digest()


class DeviceStore:
    """The file. Every call opens it anew and may wait LOCK_PATIENCE_S for another process; never on an event loop."""

    def __init__(self, path: Path) -> None:
        """Take where the file is."""
        self.path = path

    def state(self) -> FileState:
        """Return the file's state, for a look whether it has changed."""
        try:
            found = self.path.stat()
        except OSError as error:
            return FileState((error.errno or 0,), True)
        is_fresh = abs(time.time() - found.st_mtime) < FRESH_S
        return FileState((found.st_mtime_ns, found.st_size, found.st_ino), is_fresh)

    def create(self) -> None:
        """Make the file, for this user alone, unless it is there. Raises ConfigError."""
        if not self.path.exists():
            self.path.touch(mode=0o600)
        with self._connected(write=True):
            pass

    def devices(self) -> list[DeviceRecord]:
        """Return all devices by name, the revoked ones too. Raises ConfigError."""
        with self._connected() as database:
            return [_device(row) for row in database.execute("SELECT * FROM devices ORDER BY name")]

    def invitations(self, now: float) -> list[Invitation]:
        """Return what may still be used. Raises ConfigError."""
        with self._connected() as database:
            rows = database.execute("SELECT * FROM invitations WHERE expires > ? ORDER BY name", (now,))
            return [Invitation(row["name"], row["key"], row["expires"]) for row in rows]

    def invite(self, name: str, key: bytes, now: float, expires: float) -> None:
        """Let whoever knows a code become this device until then; an earlier code is void. Raises ConfigError."""
        with self._connected(write=True) as database:
            database.execute("DELETE FROM invitations WHERE expires <= ?", (now,))
            database.execute("DELETE FROM invitations WHERE name = ?", (name,))
            if database.execute("SELECT count(*) FROM invitations").fetchone()[0] >= MAX_INVITATIONS:
                raise ConfigError(f"{MAX_INVITATIONS} invitations are open: wait until one is used or has expired")
            self._check_room(database, name)
            database.execute("INSERT INTO invitations VALUES (?, ?, ?)", (name, key, expires))

    def enrol(self, proof: bytes, prove: Callable[[bytes], bytes], device: DeviceRecord) -> tuple[str, bytes]:
        """Register a device under the name of the invitation whose key gives the proof, and use it up.

        prove: what the proof would be under a key. device: its root, key, key id and the time; its name is not looked
        at. Returns the name and the key. Raises AccessError if no invitation fits, ConfigError if it cannot be kept:
        then the invitation is still good.
        """
        with self._connected(write=True) as database:
            rows = database.execute("SELECT * FROM invitations WHERE expires > ?", (device.since,)).fetchall()
            fitting = [row for row in rows if is_same(prove(row["key"]), proof)]
            if not fitting:
                raise AccessError("the code is wrong, was used, or has expired: ask for a new one (devices invite)")
            name, key = str(fitting[0]["name"]), bytes(fitting[0]["key"])
            other = database.execute("SELECT name FROM devices WHERE key_id = ?", (device.key_id,)).fetchone()
            if other is not None and other["name"] != name:
                raise AccessError("this key is enrolled under another name: make a new one")
            database.execute("DELETE FROM invitations WHERE name = ?", (name,))
            self._insert(database, name, device.since)
            database.execute(
                "UPDATE devices SET root = ?, key = ?, key_id = ?, since = ?, revoked = NULL WHERE name = ?",
                (device.root, device.key, device.key_id, device.since, name),
            )
            return name, key

    def give_token(self, name: str, now: float) -> str:
        """Return a new token of a device, which need not be enrolled; an earlier one is void. Raises ConfigError."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._connected(write=True) as database:
            self._check_room(database, name)
            self._insert(database, name, now)
            database.execute(
                "UPDATE devices SET token_hash = ?, revoked = NULL WHERE name = ?", (token_hash(token), name)
            )
        return token

    def revoke(self, name: str, now: float) -> None:
        """Let a device come no more, nor whoever was invited under its name. Raises ConfigError."""
        with self._connected(write=True) as database:
            invited = database.execute("DELETE FROM invitations WHERE name = ?", (name,)).rowcount
            found = database.execute(
                "UPDATE devices SET revoked = ?, token_hash = NULL WHERE name = ?", (now, name)
            ).rowcount
            _check_found(name, found + invited)

    def allow_bundles(self, name: str, bundles: Sequence[str] | None) -> None:
        """Let a device use these bundles only, by name or digest; None: all. Raises ConfigError."""
        allowed = None if bundles is None else json.dumps(list(bundles))
        with self._connected(write=True) as database:
            _check_found(
                name, database.execute("UPDATE devices SET bundles = ? WHERE name = ?", (allowed, name)).rowcount
            )

    def limit(self, name: str, max_sessions: int | None, max_fps: float | None) -> None:
        """Give a device limits of its own; None: those of the server. Raises ConfigError."""
        with self._connected(write=True) as database:
            changed = database.execute(
                "UPDATE devices SET max_sessions = ?, max_fps = ? WHERE name = ?", (max_sessions, max_fps, name)
            )
            _check_found(name, changed.rowcount)

    def _check_room(self, database: sqlite3.Connection, name: str) -> None:
        others = database.execute("SELECT count(*) FROM devices WHERE name != ?", (name,)).fetchone()[0]
        if others >= MAX_DEVICES:
            raise ConfigError(f"a server knows at most {MAX_DEVICES} devices")

    def _insert(self, database: sqlite3.Connection, name: str, now: float) -> None:
        database.execute("INSERT OR IGNORE INTO devices (name, since) VALUES (?, ?)", (name, now))

    def _connected(self, write: bool = False) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, FORMAT, _in_words, WRITE if write else READ)


def _check_found(name: str, count: int) -> None:
    if not count:
        raise ConfigError(f"no device is called {name}: `cloud-server devices list` shows those that are known")


def _in_words(error: sqlite3.Error) -> str:
    """Return what is the matter, and what to do."""
    if not isinstance(error, sqlite3.OperationalError):
        return f"damaged ({error}): put back a copy of it, or enrol the devices anew"
    kinds = {
        "readonly": "it cannot be written: check whose it is, and whether the disk is writable",
        "full": "the disk is full; nothing was changed",
        "locked": f"another process has held it for {LOCK_PATIENCE_S:g} s: try again",
        "unable to open": "it cannot be opened: `cloud-server devices init` makes it",
    }
    return next((words for part, words in kinds.items() if part in str(error)), str(error))


def _device(row: sqlite3.Row) -> DeviceRecord:
    """Return a row as a device. Raises ConfigError if it holds something else."""
    facts = dict(row)
    try:
        bundles = None if facts["bundles"] is None else tuple(str(one) for one in json.loads(facts["bundles"]))
        return DeviceRecord(**{**facts, "bundles": bundles})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the entry of device {facts['name']} is damaged: revoke it, and enrol it anew") from error
