"""The folder that devices get models from: signed lists, and the files that they name by digest.

Everything in it may be read by anybody. Files come first, the timestamp last, each whole or not at all: whenever the
power ends, devices find the list of before or the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from cloud_server.delivery.keys import ONLINE, ROOT, TARGETS, KeyFolder
from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError, UpdateError
from splitnet.home import data_folder
from splitnet.regular_file import read_regular
from splitnet.updates.artefact import Artefact
from splitnet.updates.signed_list import (
    FIRST_ROOT,
    SIGNED_AT,
    TIMESTAMP_FILE,
    artefacts_in,
    fingerprint,
    target_of,
)

ROOT_DAYS, LIST_DAYS, TIMESTAMP_DAYS = 3650, 1825, 14
KEPT_VERSIONS = 200  # in the list: a device away for longer gets everything anew
MAX_METADATA_BYTES = 5_000_000  # what TUF's client takes
SPECIFICATION = "1.0.31"


def default_repository() -> Path:
    """Return the folder of a user who names none."""
    return data_folder() / "updates"


class Repository:
    """What `cloud-server keys new` makes, `cloud-server bundle sign` fills and `cloud-server serve` hands out."""

    def __init__(self, path: Path) -> None:
        """Take where it is."""
        self.path = path
        self._metadata, self._blobs = path / "metadata", path / "files"
        self.online_keys = KeyFolder(path / "online")

    @property
    def exists(self) -> bool:
        """Whether it has been made."""
        return (self._metadata / FIRST_ROOT).is_file()

    def check_made(self) -> None:
        """Raise ConfigError unless it has been made."""
        if not self.exists:
            raise ConfigError(f"{self.path} holds no signed models: `cloud-server keys new` makes it; see --updates")

    @property
    def fingerprint(self) -> str:
        """What devices pin. Raises ConfigError."""
        return fingerprint(self.metadata_file(FIRST_ROOT) or b"")

    def make(self, keys: KeyFolder, now: datetime) -> str:
        """Make keys, the first root and an empty list; returns the fingerprint. Raises ConfigError if there is one."""
        with self._locked():
            if self.exists:
                raise ConfigError(f"{self.path} has its keys already: `cloud-server keys rotate` makes new ones")
            if keys.has(ROOT) or keys.has(TARGETS):
                raise ConfigError(f"{keys.path} holds keys of another fleet: give an empty folder with --keys")
            signers = {ROOT: keys.make(ROOT), TARGETS: keys.make(TARGETS), ONLINE: self.online_keys.make(ONLINE)}
            root = Root(version=1, spec_version=SPECIFICATION, expires=_after(now, ROOT_DAYS), consistent_snapshot=True)
            for role, name in ((ROOT, Root.type), (TARGETS, Targets.type), (ONLINE, Snapshot.type)):
                root.add_key(signers[role].public_key, name)
            root.add_key(signers[ONLINE].public_key, Timestamp.type)
            self._write(FIRST_ROOT, _signed(Metadata(root), [signers[ROOT]]))
            self._write_list([], signers[TARGETS], signers[ONLINE], now)
        return self.fingerprint

    def rotate(self, role: str, keys: KeyFolder, now: datetime) -> int:
        """Give a role a new key; returns the new root's version, which the old root key and the new one sign.

        What the old key has signed is signed anew. Raises ConfigError.
        """
        self.check_made()
        with self._locked():
            name = self._newest_root()
            metadata: Metadata[Root] = Metadata.from_bytes(self._read(name))
            root, old_root = metadata.signed, keys.signer(ROOT)
            place = self.online_keys if role == ONLINE else keys
            old, new = place.signer(role), place.make(role)
            for signed_role in _tuf_roles(role):
                root.revoke_key(old.public_key.keyid, signed_role)
                root.add_key(new.public_key, signed_role)
            root.version += 1
            root.expires = _after(now, ROOT_DAYS)
            signers = [old_root, new] if role == ROOT else [old_root]
            self._write(f"{root.version}.root.json", _signed(metadata, signers))
            if role != ROOT:
                self._write_list(
                    self.artefacts(), keys.signer(TARGETS), self.online_keys.signer(ONLINE), now, self._state()
                )
        return root.version

    def artefacts(self) -> list[Artefact]:
        """Return what is signed, the newest first. Raises ConfigError."""
        return artefacts_in(self._read(f"{self._state()[0]}.targets.json"))

    def add(self, artefacts: Sequence[Artefact], keys: KeyFolder, now: datetime) -> None:
        """Sign further artefacts, whose files are here. Raises ConfigError, UpdateError if a file is not."""
        self.check_made()
        for artefact in artefacts:
            for file in artefact.files:
                if self.file_bytes(file.stored_sha256) != file.stored_bytes:
                    raise UpdateError(f"file {file.name} of {artefact.target} is not in {self._blobs}")
        with self._locked():
            kept = [*artefacts, *self.artefacts()]
            if len({one.target for one in kept}) != len(kept):
                raise UpdateError("this version is signed already: sign again")
            versions = sorted({one.version for one in kept}, reverse=True)[:KEPT_VERSIONS]
            listed = [one for one in kept if one.version >= versions[-1]]
            self._write_list(listed, keys.signer(TARGETS), self.online_keys.signer(ONLINE), now, self._state())

    def vouch(self, now: datetime, days_left: float = TIMESTAMP_DAYS - 1.0) -> bool:
        """Sign the timestamp anew if it has no more days than that; returns whether it was. Raises ConfigError."""
        if not self.exists or not self.online_keys.has(ONLINE):
            return False
        with self._locked():
            metadata: Metadata[Timestamp] = Metadata.from_bytes(self._read(TIMESTAMP_FILE))
            if metadata.signed.expires - now > timedelta(days=days_left):
                return False
            self._vouch(metadata.signed, self.online_keys.signer(ONLINE), now)
        return True

    def timestamp_expires(self) -> datetime:
        """Return until when devices believe the newest list. Raises ConfigError."""
        metadata: Metadata[Timestamp] = Metadata.from_bytes(self._read(TIMESTAMP_FILE))
        return metadata.signed.expires

    def metadata_file(self, name: str) -> bytes | None:
        """Return a signed list by TUF's name of it; None if there is none. The name has been checked."""
        try:
            return read_regular(self._metadata / name, MAX_METADATA_BYTES)
        except OSError:
            return None

    def keep(self, data: bytes) -> str:
        """Keep a file of an artefact; returns its digest. Raises ConfigError."""
        sha256 = hashlib.sha256(data).hexdigest()
        place = self._blobs / sha256
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
            if self.file_bytes(sha256) != len(data):
                write_atomically(place, data)
        except OSError as error:
            raise ConfigError(f"{place} cannot be written ({error.strerror})") from error
        return sha256

    def file_bytes(self, sha256: str) -> int | None:
        """Return the size of an artefact's file; None if it is not here."""
        try:
            return (self._blobs / sha256).stat().st_size
        except OSError:
            return None

    def piece(self, sha256: str, offset: int, most: int) -> bytes | None:
        """Return a piece of an artefact's file; None if it is not here."""
        try:
            with (self._blobs / sha256).open("rb") as file:
                return os.pread(file.fileno(), most, min(offset, 1 << 40))
        except OSError:
            return None

    def _state(self) -> tuple[int, int, int]:
        """Return the versions of targets, snapshot and timestamp."""
        timestamp: Metadata[Timestamp] = Metadata.from_bytes(self._read(TIMESTAMP_FILE))
        version = timestamp.signed.snapshot_meta.version
        snapshot: Metadata[Snapshot] = Metadata.from_bytes(self._read(f"{version}.snapshot.json"))
        return snapshot.signed.meta["targets.json"].version, version, timestamp.signed.version

    def _write_list(
        self,
        artefacts: Sequence[Artefact],
        targets_key: CryptoSigner,
        online_key: CryptoSigner,
        now: datetime,
        state: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        listed = {one.target: target_of(one) for one in artefacts}
        targets = Targets(state[0] + 1, SPECIFICATION, _after(now, LIST_DAYS), listed)
        self._write(f"{targets.version}.targets.json", _signed(Metadata(targets), [targets_key]))
        meta = {"targets.json": MetaFile(targets.version)}
        snapshot = Snapshot(state[1] + 1, SPECIFICATION, _after(now, LIST_DAYS), meta)
        self._write(f"{snapshot.version}.snapshot.json", _signed(Metadata(snapshot), [online_key]))
        timestamp = Timestamp(snapshot_meta=MetaFile(snapshot.version))
        timestamp.version = state[2]
        self._vouch(timestamp, online_key, now)

    def _vouch(self, timestamp: Timestamp, online_key: CryptoSigner, now: datetime) -> None:
        timestamp.version += 1
        timestamp.expires = _after(now, TIMESTAMP_DAYS)
        timestamp.unrecognized_fields[SIGNED_AT] = int(now.timestamp())
        self._write(TIMESTAMP_FILE, _signed(Metadata(timestamp), [online_key]))

    def _newest_root(self) -> str:
        version = 1
        while (self._metadata / f"{version + 1}.root.json").exists():
            version += 1
        return f"{version}.root.json"

    def _read(self, name: str) -> bytes:
        data = self.metadata_file(name)
        if data is None:
            raise ConfigError(f"{self._metadata / name} is missing or too large: put back a copy of {self.path}")
        try:
            Metadata.from_bytes(data)
        except DeserializationError as error:
            raise ConfigError(f"{self._metadata / name} is damaged: put back a copy of {self.path}") from error
        return data

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._metadata.mkdir(parents=True, exist_ok=True)
            write_atomically(self._metadata / name, data)
        except OSError as error:
            raise ConfigError(f"{self._metadata / name} cannot be written ({error.strerror})") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from signing at the same time."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written ({error.strerror}): choose another --updates") from error


def _tuf_roles(role: str) -> tuple[str, ...]:
    return {ROOT: (Root.type,), TARGETS: (Targets.type,), ONLINE: (Snapshot.type, Timestamp.type)}[role]


def _signed(
    metadata: Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp],
    signers: Sequence[CryptoSigner],
) -> bytes:
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _after(now: datetime, days: int) -> datetime:
    return (now.astimezone(timezone.utc) + timedelta(days=days)).replace(microsecond=0)
