"""What the user says of TLS: the settings of the commands that have a server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from splitnet.errors import ConfigError
from splitnet.regular_file import read_regular
from splitnet.settings import option

MAX_FILE_BYTES = 1 << 20
SYSTEM = "system"  # for --server-ca: the authorities that this system trusts
_OPTIONS = {  # name: help, metavar
    "server_ca": (
        "use TLS, and trust servers that this authority vouches for: a PEM file, or system for those of this system",
        "FILE",
    ),
    "client_cert": ("certificate of an own PKI that this device shows, PEM", "FILE"),
    "client_key": ("its key, PEM", "FILE"),
    "token_file": ("file with a token of `cloud-server devices token`", "FILE"),
    "identity": ("folder of an identity, if not what `edge-client enrol` has kept for the server", "DIR"),
}


def tls_option(name: str) -> Any:
    """Return a field of a settings class: one of TlsFiles."""
    text, metavar = _OPTIONS[name]
    return option(text, default=None, metavar=metavar, group="security")


@dataclass(frozen=True)
class TlsFiles:
    """What the user has said of TLS; the identity that was enrolled at a server, if nothing."""

    server_ca: str | None = None  # a PEM file, or SYSTEM
    client_cert: Path | None = None
    client_key: Path | None = None
    token_file: Path | None = None
    identity: Path | None = None  # a folder

    @property
    def given(self) -> bool:
        """Whether the user has said anything."""
        return any((self.server_ca, self.client_cert, self.token_file, self.identity))

    def check(self) -> None:
        """Raise ConfigError if settings contradict one another, or a file cannot be read."""
        if (self.client_cert is None) != (self.client_key is None):
            raise ConfigError("--client-cert and --client-key belong together")
        if self.client_cert is not None and self.server_ca is None:
            raise ConfigError("--client-cert needs --server-ca FILE: whom to trust")
        if self.identity is not None and (self.client_cert or self.token_file):
            raise ConfigError("--identity is what the device shows: leave --client-cert and --token-file out")
        for path in self._paths():
            read_file(path)

    def state(self) -> tuple[object, ...]:
        """Return what changes when the files do."""
        return tuple(_state(path) for path in self._paths())

    def _paths(self) -> list[Path]:
        ca = None if self.server_ca in (None, SYSTEM) else Path(str(self.server_ca))
        return [path for path in (ca, self.client_cert, self.client_key, self.token_file) if path is not None]


def tls_files(config: Any) -> TlsFiles:
    """Return what the settings of a command say."""
    return TlsFiles(**{name: getattr(config, name) for name in _OPTIONS})


def read_file(path: Path) -> bytes:
    """Return a file's content. Raises ConfigError."""
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error


def read_authorities(path: Path) -> bytes:
    """Return a file of certificates, PEM. Raises ConfigError: gRPC would only fail to connect, and try for ever."""
    data = read_file(path)
    try:
        x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate in PEM, or a damaged one") from error
    return data


def read_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Return a key and the certificate chain that is its, PEM. Raises ConfigError."""
    chain, private = read_authorities(certificate), read_file(key)
    try:
        of_key = load_pem_private_key(private, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{key} holds no private key in PEM without a password") from error
    if of_key != x509.load_pem_x509_certificates(chain)[0].public_key():
        raise ConfigError(f"{key} is not the key of {certificate}")
    return private, chain


def _state(path: Path) -> object:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino
