"""Whose models a device takes: keys pinned by a fingerprint, a file or its enrolment, on first use only if asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge_client.delivery.model_state import Trust
from edge_client.delivery.model_store import ModelStore, default_models
from edge_client.transport.identity import update_root
from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError, UntrustedError
from splitnet.regular_file import read_regular
from splitnet.updates.signed_list import FINGERPRINT_CHARS, fingerprint

TRUSTED_FILE = "trusted"
MAX_ROOT_BYTES = 512_000
_FINGERPRINT = re.compile(rf"[0-9a-fA-F]{{{FINGERPRINT_CHARS}}}")
NOBODY = (
    "this device trusts nobody's models yet: give --trust FINGERPRINT, which `cloud-server keys show` prints on the "
    "server, enrol the device, or say --trust-on-first-use"
)


@dataclass(frozen=True)
class TrustSettings:
    """What the user has said."""

    models: Path | None = None  # the folder; None: the usual one
    trust: str = ""  # a fingerprint, or a file with the first root
    on_first_use: bool = False
    most_bytes: int = 300_000_000

    @property
    def folder(self) -> Path:
        """Where models are: a folder of its own for every fleet."""
        return self.models or default_models()

    def pinned(self, server: str, identity: Path | None = None) -> tuple[str, bytes | None]:
        """Return the fingerprint that is trusted, empty if nobody is, and the first root if it is here already.

        Raises ConfigError if what the user has given is neither a fingerprint nor a root.
        """
        if self.trust:
            return self._given()
        enrolled = update_root(server, identity)
        if enrolled is not None:
            return fingerprint(enrolled), enrolled
        try:
            remembered = read_regular(self.folder / TRUSTED_FILE, 100).decode("ascii", "replace").strip()
        except OSError:
            return "", None
        return (remembered if _FINGERPRINT.fullmatch(remembered) else ""), None

    def store(self, trusted: str) -> ModelStore:
        """Return the store of a fleet. Raises ConfigError."""
        return ModelStore(self.folder / trusted.lower(), self.most_bytes)

    def remember(self, trusted: str) -> None:
        """Trust this fleet from now on, without being told again. Raises ConfigError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self.folder / TRUSTED_FILE, f"{trusted}\n")
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be written ({error.strerror}): choose another --models") from error

    def _given(self) -> tuple[str, bytes | None]:
        if _FINGERPRINT.fullmatch(self.trust):
            return self.trust.lower(), None
        try:
            root = read_regular(Path(self.trust), MAX_ROOT_BYTES)
        except OSError as error:
            raise ConfigError(
                f"--trust takes the {FINGERPRINT_CHARS} signs that `cloud-server keys show` prints, or 1.root.json, "
                f"not {self.trust!r} ({error.strerror})"
            ) from error
        return fingerprint(root), root


def check_first_root(root: bytes | None, wanted: str) -> bytes:
    """Return a first root if it is the one that was pinned. Raises UntrustedError.

    wanted: the fingerprint, 32 hexadecimal digits.
    """
    if root is None:
        raise UntrustedError("the server gives no signed models: see `cloud-server keys new` there")
    found = fingerprint(root)
    if found != wanted.strip().lower():
        raise UntrustedError(f"the server's models are signed by {found}, but {wanted} is trusted: see --trust")
    return root


def ensure_root(store: ModelStore, trusted: str, root: bytes | None) -> None:
    """Give a store its first root, if it has none. Raises UntrustedError if it is not the one that is pinned."""
    if not store.state.trust().root:
        store.state.keep_trust(Trust(check_first_root(root, trusted)))
