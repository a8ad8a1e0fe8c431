"""The server's side of TLS: certificates that may change while it runs, and who of its clients must show one.

gRPC asks at every handshake. A pair of files that does not fit, or has expired, is refused and logged once; the one
before goes on.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from splitnet.errors import ConfigError
from splitnet.regular_file import read_regular

MAX_PEM_BYTES = 1 << 20
LOOK_INTERVAL_S = 1.0  # at the files, however many handshakes there are
DAY_S = 86_400.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CertificateFiles:
    """Where a certificate chain and its key are, PEM; both may be in one file."""

    certificate: Path
    key: Path

    def state(self) -> tuple[object, ...]:
        """Return what changes when the files do."""
        return tuple(_state(path) for path in (self.certificate, self.key))


@dataclass(frozen=True)
class CertificatePair:
    """A chain and its key that fit, PEM."""

    chain: bytes
    key: bytes
    leaf: bytes  # DER
    expires: float  # seconds since 1970


def read_pair(files: CertificateFiles, now: float) -> CertificatePair:
    """Return the certificate in files. Raises ConfigError if it is none, not of its key, or not valid now."""
    chain, key = _read(files.certificate), _read(files.key)
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        private = serialization.load_pem_private_key(key, None)
        of_key, of_leaf = (one.public_key() for one in (private, certificates[0]))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{files.certificate} and {files.key}: no certificate with its key in PEM") from error
    if of_key != of_leaf:
        raise ConfigError(f"{files.key} is not the key of {files.certificate}")
    begins, ends = certificates[0].not_valid_before_utc.timestamp(), certificates[0].not_valid_after_utc.timestamp()
    if not begins <= now < ends:
        what = "has expired" if now >= ends else "is not valid yet: look at the clock"
        raise ConfigError(f"the certificate {files.certificate} {what}")
    pem = serialization.Encoding.PEM
    whole_chain = b"".join(one.public_bytes(pem) for one in certificates)  # without a key that the file may hold, too
    return CertificatePair(whole_chain, key, certificates[0].public_bytes(serialization.Encoding.DER), ends)


class ServerCertificate:
    """The certificate that new connections get. Used from gRPC's threads, too."""

    def __init__(self, files: CertificateFiles, clock: Callable[[], float] = time.time) -> None:
        """Read the files. Raises ConfigError. clock: seconds since 1970."""
        self._files = files
        self._clock = clock
        self._lock = threading.Lock()
        self._state = files.state()
        self._looked_at = clock()
        self._pair = read_pair(files, clock())

    @property
    def pair(self) -> CertificatePair:
        """The one in use, after a look at the files."""
        with self._lock:
            now = self._clock()
            if abs(now - self._looked_at) >= LOOK_INTERVAL_S:
                self._looked_at = now
                self._look(now)
            return self._pair

    @property
    def days_left(self) -> int:
        """Whole days until it expires; negative afterwards."""
        return math.floor((self.pair.expires - self._clock()) / DAY_S)

    def _look(self, now: float) -> None:
        state = self._files.state()
        if state == self._state:
            return
        try:
            self._pair = read_pair(self._files, now)
        except ConfigError as error:
            logger.error("certificate refused, going on with the old one", extra={"reason": str(error)})
        else:
            logger.info("certificate changed", extra={"days_left": math.floor((self._pair.expires - now) / DAY_S)})
        self._state = state


def server_credentials(
    certificate: ServerCertificate, client_roots: Callable[[], bytes] | None
) -> grpc.ServerCredentials:
    """Return gRPC's credentials, which follow the certificate and the roots.

    client_roots: PEM of whom to take client certificates from, which are required then; None: none are asked for.
    """
    used: list[tuple[CertificatePair, bytes | None]] = []

    def configuration() -> grpc.ServerCertificateConfiguration | None:
        """Return the configuration if it has changed; None keeps the one before."""
        wanted = certificate.pair, None if client_roots is None else client_roots()
        if used and used[0] == wanted:
            return None
        used[:] = [wanted]
        pair, roots = wanted
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], roots)

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration, client_roots is not None)  # type: ignore[arg-type]


def _state(path: Path) -> object:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows the links of whoever renews certificates
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_PEM_BYTES)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
