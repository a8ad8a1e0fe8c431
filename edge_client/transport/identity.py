"""What a device keeps of its enrolment: one folder for each server, with its key and whom it trusts."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_client.transport.servers import split_address
from splitnet.atomic_write import write_atomically, write_json
from splitnet.errors import ConfigError
from splitnet.home import data_folder
from splitnet.regular_file import read_regular

UPDATE_ROOT_FILE = "update-root.json"  # whose models the device takes, since its enrolment
MAX_ROOT_BYTES = 512_000
KEY_FILE, FACTS_FILE, AUTHORITY_FILE = "device-key.pem", "identity.json", "server-authority.pem"
MAX_FILE_BYTES = 1 << 16


@dataclass(frozen=True)
class Identity:
    """Who this device is at a server."""

    device_id: str
    server: str  # HOST:PORT of the sessions
    server_name: str  # that its certificates are for; empty: its host
    server_authority: bytes  # PEM; empty: a public one
    key: bytes  # Ed25519, PEM


def identities_folder() -> Path:
    """Return where identities are kept that were not put elsewhere."""
    return data_folder() / "identities"


def folder_of(server: str) -> Path:
    """Return where the identity at HOST:PORT is kept."""
    host, port = split_address(server)
    return identities_folder() / f"{re.sub('[^A-Za-z0-9._-]', '_', host)}-{port}"


def find_identity(server: str, folder: Path | None = None) -> Identity | None:
    """Return the identity at a server: that in a folder, or the kept one, if any. Raises ConfigError if damaged."""
    place = folder or folder_of(server)
    if folder is None and not (place / FACTS_FILE).exists():
        return None
    try:
        facts = json.loads(read_regular(place / FACTS_FILE, MAX_FILE_BYTES))
        device_id, address, name = (facts[key] for key in ("device_id", "server", "server_name"))
        if not all(isinstance(text, str) for text in (device_id, address, name)):
            raise TypeError("no text")
        authority = read_regular(place / AUTHORITY_FILE, MAX_FILE_BYTES)
        return Identity(device_id, address, name, authority, read_regular(place / KEY_FILE, MAX_FILE_BYTES))
    except OSError as error:
        raise ConfigError(f"the identity in {place} cannot be read ({error.strerror}): enrol this device") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the identity in {place} is damaged: enrol this device anew") from error


def keep_identity(identity: Identity, folder: Path | None = None) -> Path:
    """Write an identity, for this user alone; returns where. Raises ConfigError."""
    place = folder or folder_of(identity.server)
    before = os.umask(0o077)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(place / KEY_FILE, identity.key)
        write_atomically(place / AUTHORITY_FILE, identity.server_authority)
        facts = {"device_id": identity.device_id, "server": identity.server, "server_name": identity.server_name}
        write_json(place / FACTS_FILE, facts)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written ({error.strerror}): choose another --identity") from error
    finally:
        os.umask(before)
    return place


def update_root(server: str, folder: Path | None = None) -> bytes | None:
    """Return the first root of whose models the device takes since its enrolment at HOST:PORT; None without one."""
    try:
        return read_regular((folder or folder_of(server)) / UPDATE_ROOT_FILE, MAX_ROOT_BYTES)
    except OSError:
        return None


def keep_update_root(root: bytes, place: Path) -> None:
    """Keep it with an identity. Raises ConfigError."""
    try:
        write_atomically(place / UPDATE_ROOT_FILE, root)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written ({error.strerror}): choose another --identity") from error


def check_writable(folder: Path) -> None:
    """Raise ConfigError if an identity could not be written there: better before the code is used up."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}): choose another --identity") from error
