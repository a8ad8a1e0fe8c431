"""Rollouts, groups and what devices run, in an SQLite file (WAL) that commands and the server share.

Every call opens it anew and may wait for another process; never on an event loop. Times are seconds since 1970.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from cloud_server.delivery.rollout import ABORTED, ACTIVE, PAUSED, KnownDevice, Rollout, failures_of
from splitnet.database_format import WRITE_AHEAD, DatabaseFormat, transaction
from splitnet.errors import ConfigError
from splitnet.updates.delivery import DeviceState, Phase

FILE_NAME = "fleet.sqlite"
MAX_DEVICES = 20_000  # the longest unseen is forgotten: on an open server, names cost nothing

FORMAT = DatabaseFormat(
    """
CREATE TABLE rollouts (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, result TEXT NOT NULL, audience TEXT NOT NULL,
    max_concurrent INTEGER NOT NULL, max_failures INTEGER NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL
);
CREATE TABLE groups (name TEXT NOT NULL, device TEXT NOT NULL, PRIMARY KEY (name, device));
CREATE TABLE devices (name TEXT PRIMARY KEY, state TEXT NOT NULL, seen REAL NOT NULL, offered INTEGER NOT NULL);
""",
    1,
    "update it, or start anew",
)


@dataclass(frozen=True)
class FleetView:
    """All that the file holds at one moment."""

    rollouts: Sequence[Rollout]
    devices: Mapping[str, KnownDevice]
    groups: Mapping[str, frozenset[str]]  # of a device


class FleetStore:
    """The file."""

    def __init__(self, folder: Path) -> None:
        """Take the folder that it is in."""
        self.path = folder / FILE_NAME

    def view(self) -> FleetView:
        """Return everything. Raises ConfigError."""
        with self._connected() as database:
            rows = database.execute("SELECT * FROM rollouts ORDER BY version")
            rollouts = [Rollout(**dict(row)) for row in rows]
            devices = {row["name"]: _device(row) for row in database.execute("SELECT * FROM devices ORDER BY name")}
            groups: dict[str, set[str]] = {}
            for row in database.execute("SELECT * FROM groups"):
                groups.setdefault(row["device"], set()).add(row["name"])
        return FleetView(rollouts, devices, {device: frozenset(names) for device, names in groups.items()})

    def publish(self, rollout: Rollout) -> None:
        """Begin a rollout, or give one a new audience and new limits. Raises ConfigError if it was aborted."""
        with self._connected() as database:
            found = database.execute("SELECT state FROM rollouts WHERE version = ?", (rollout.version,)).fetchone()
            if found is not None and found["state"] == ABORTED:
                raise ConfigError(f"version {rollout.version} was aborted: sign it again, as a new version")
            values = asdict(rollout)
            places = ", ".join(f":{name}" for name in values)
            database.execute(f"INSERT OR REPLACE INTO rollouts ({', '.join(values)}) VALUES ({places})", values)

    def set_state(self, version: int, state: str, note: str = "") -> None:
        """Pause, resume or abort a rollout. Raises ConfigError if there is none, or it was aborted."""
        with self._connected() as database:
            found = database.execute("SELECT state FROM rollouts WHERE version = ?", (version,)).fetchone()
            if found is None:
                raise ConfigError(f"version {version} was never published: see `cloud-server rollout status`")
            if found["state"] == ABORTED and state != ABORTED:
                raise ConfigError(f"version {version} was aborted: sign it again, as a new version")
            database.execute("UPDATE rollouts SET state = ?, note = ? WHERE version = ?", (state, note, version))

    def set_group(self, name: str, devices: Sequence[str]) -> None:
        """Say which devices a group has. Raises ConfigError."""
        with self._connected() as database:
            database.execute("DELETE FROM groups WHERE name = ?", (name,))
            database.executemany("INSERT OR IGNORE INTO groups VALUES (?, ?)", [(name, device) for device in devices])

    def note(self, states: Mapping[str, tuple[DeviceState, int]], now: float) -> list[Rollout]:
        """Keep what devices say and were offered; returns the rollouts that have paused by themselves over it."""
        with self._connected() as database:
            for name, (state, offered) in states.items():
                text = json.dumps({**asdict(state), "phase": state.phase.value})
                database.execute("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?)", (name, text, now, offered))
            database.execute(
                "DELETE FROM devices WHERE name NOT IN (SELECT name FROM devices ORDER BY seen DESC LIMIT ?)",
                (MAX_DEVICES,),
            )
            devices = [_device(row) for row in database.execute("SELECT * FROM devices")]
            rows = database.execute("SELECT * FROM rollouts WHERE state = ? AND max_failures > 0", (ACTIVE,)).fetchall()
            paused = []
            for rollout in (Rollout(**dict(row)) for row in rows):
                failures = failures_of(rollout.version, devices)
                if failures >= rollout.max_failures:
                    note = f"{failures} devices went back by themselves"
                    database.execute(
                        "UPDATE rollouts SET state = ?, note = ? WHERE version = ?", (PAUSED, note, rollout.version)
                    )
                    paused.append(rollout)
        return paused

    def _connected(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, FORMAT, _in_words, pragmas=(WRITE_AHEAD,))


def _in_words(error: sqlite3.Error) -> str:
    return f"{error}: check whose it is, and whether the disk is full"


def _device(row: sqlite3.Row) -> KnownDevice:
    values = json.loads(row["state"])
    state = DeviceState(**{**values, "forms": tuple(values["forms"]), "phase": Phase(values["phase"])})
    return KnownDevice(state, row["seen"], row["offered"])
