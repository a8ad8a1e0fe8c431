"""Where the server lets whom in: addresses, certificates, and the devices that are known."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import grpc

from cloud_server.access.authority import SERVER_NAME, AccessFolder
from cloud_server.access.callers import Callers
from cloud_server.access.directory import Directory
from cloud_server.access.server_tls import CertificateFiles, ServerCertificate, server_credentials
from cloud_server.config import ServeConfig, split_address
from splitnet.errors import ConfigError
from splitnet.regular_file import read_regular

MAX_AUTHORITY_BYTES = 1 << 20
NO_ENROLMENT = "none"  # for --enrol-listen


@dataclass(frozen=True)
class Entrance:
    """How calls come in. Without TLS and without a directory, everybody may."""

    callers: Callers
    certificate: ServerCertificate | None = None
    credentials: grpc.ServerCredentials | None = None  # of the address that devices open sessions at
    folder: AccessFolder | None = None
    directory: Directory | None = None
    enrol_address: tuple[str, int] | None = None  # TLS without client certificates: codes, tokens and health checks
    enrol_credentials: grpc.ServerCredentials | None = None
    authority: bytes = b""  # PEM, that enrolled devices are told; empty: the certificate is by a public one
    server_name: str = ""

    def in_words(self, host: str, enrol_address: str | None) -> str:
        """Return a line that says who can come in. host: where sessions are taken."""
        if self.certificate is None:
            if is_loopback(host):
                return "no TLS: only programs of this machine can connect"
            return "no TLS, no authentication: whoever reaches this address can read and use it (docs/security.md)"
        left = f"its certificate is good for {self.certificate.days_left} days"
        if self.directory is None:
            return f"TLS, {left}"
        where = "" if enrol_address is None else f"; enrolment, tokens and health checks at {enrol_address}"
        known = sum(device.may_come for device in self.directory.view.by_name.values())
        return f"mutual TLS for {known} known devices, {left}{where}"


def open_entrance() -> Entrance:
    """Return the entrance of a server without TLS."""
    return Entrance(Callers())


def make_entrance(config: ServeConfig, clock: Callable[[], float] = time.time) -> Entrance:
    """Return the entrance that settings describe. Raises ConfigError if a file is missing, damaged or expired."""
    files = None if config.tls_cert is None else CertificateFiles(config.tls_cert, config.tls_key or config.tls_cert)
    if config.access is not None:
        return _known_devices(config, AccessFolder(config.access), files, clock)
    if files is None:
        return open_entrance()
    certificate = ServerCertificate(files, clock)
    if config.client_ca is None:
        return Entrance(Callers(), certificate, server_credentials(certificate, None))
    path = config.client_ca
    try:
        roots = read_regular(path, MAX_AUTHORITY_BYTES)
    except OSError as error:
        raise ConfigError(f"--client-ca {path} cannot be read ({error.strerror})") from error
    if b"-----BEGIN CERTIFICATE-----" not in roots:
        raise ConfigError(f"--client-ca {path} holds no certificate in PEM")
    return Entrance(Callers(own_authority=True), certificate, server_credentials(certificate, lambda: roots))


def _known_devices(
    config: ServeConfig, folder: AccessFolder, files: CertificateFiles | None, clock: Callable[[], float]
) -> Entrance:
    folder.check_made()
    own = files is None
    certificate = ServerCertificate(files or CertificateFiles(folder.server_file, folder.server_file), clock)
    directory = Directory(folder.store)
    return Entrance(
        Callers(directory),
        certificate,
        server_credentials(certificate, partial(_roots, directory, folder.authority())),
        folder,
        directory,
        _enrol_address(config),
        server_credentials(certificate, None),
        folder.authority() if own else b"",
        SERVER_NAME if own else "",
    )


def _roots(directory: Directory, stand_in: bytes) -> bytes:
    """Return whose client certificates are taken. stand_in: for gRPC, which wants one; it signs no clients."""
    return directory.view.roots or stand_in


def _enrol_address(config: ServeConfig) -> tuple[str, int] | None:
    if config.enrol_listen == NO_ENROLMENT:
        return None
    if config.enrol_listen is not None:
        return split_address(config.enrol_listen)
    host, port = split_address(config.listen)
    return host, port + 1 if port else 0


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from its own machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
