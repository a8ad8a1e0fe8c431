"""The keys that devices trust, Ed25519: who may name keys (root), models (targets) and the newest list (online).

Root and targets sign where the operator sits, and are best kept off the server. The online key signs on the server,
every day anew: whoever steals it can keep devices at what they have, and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError
from splitnet.home import data_folder
from splitnet.regular_file import read_regular

ROOT, TARGETS, ONLINE = "root", "targets", "online"
OFFLINE_ROLES = (ROOT, TARGETS)
ROLES = (ROOT, TARGETS, ONLINE)
MAX_KEY_BYTES = 1 << 16


def default_keys() -> Path:
    """Return the folder of the keys of a user who names none."""
    return data_folder() / "keys"


@dataclass(frozen=True)
class KeyFolder:
    """A folder with private keys, PEM (PKCS 8)."""

    path: Path

    def has(self, role: str) -> bool:
        """Return whether the key of a role is here."""
        return self._file(role).exists()

    def make(self, role: str) -> CryptoSigner:
        """Make a key and write it, for this user alone; an earlier one stays beside it. Raises ConfigError."""
        signer = CryptoSigner.generate_ed25519()
        file = self._file(role)
        before = os.umask(0o077)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if file.exists():
                file.replace(self._unused(role))
            write_atomically(file, signer.private_bytes)
        except OSError as error:
            raise ConfigError(f"{file} cannot be written ({error.strerror}): choose another folder") from error
        finally:
            os.umask(before)
        return signer

    def signer(self, role: str) -> CryptoSigner:
        """Return what signs for a role. Raises ConfigError if its key is not here, or damaged."""
        return _read(self._file(role), role)

    def _file(self, role: str) -> Path:
        return self.path / f"{role}.pem"

    def _unused(self, role: str) -> Path:
        number = 1
        while (place := self.path / f"{role}-before-{number}.pem").exists():
            number += 1
        return place


def _read(file: Path, role: str) -> CryptoSigner:
    try:
        key = serialization.load_pem_private_key(read_regular(file, MAX_KEY_BYTES), None)
    except FileNotFoundError:
        raise ConfigError(f"{file} is not there: `cloud-server keys new` makes the {role} key; see --keys") from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{file} is no private key in PEM ({error})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{file} is a key of another kind than Ed25519")
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))
