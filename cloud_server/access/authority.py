"""An access folder: the server's own certification authority, its certificate, and the devices that it knows."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud_server.access.device_store import FILE_NAME, DeviceStore
from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError
from splitnet.home import data_folder
from splitnet.regular_file import read_regular

AUTHORITY_FILE, AUTHORITY_KEY_FILE, SERVER_FILE = "authority.pem", "authority-key.pem", "server.pem"
SERVER_NAME = "slimsplit-edge"  # in every server certificate: enrolled devices know the authority, whatever the address
AUTHORITY_DAYS = 3650
SERVER_DAYS = 825
BACKDATED = timedelta(days=1)  # for devices whose clock is slow
MAX_FILE_BYTES = 1 << 20

_PEM = serialization.Encoding.PEM
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def default_folder() -> Path:
    """Return the access folder of a user who names none."""
    return data_folder() / "access"


class AccessFolder:
    """What `cloud-server devices init` makes."""

    def __init__(self, path: Path) -> None:
        """Take where it is."""
        self.path = path
        self.store = DeviceStore(path / FILE_NAME)

    @property
    def server_file(self) -> Path:
        """The server's certificate and its key, PEM."""
        return self.path / SERVER_FILE

    def check_made(self) -> None:
        """Raise ConfigError unless it is there, and whole."""
        missing = [name for name in (AUTHORITY_FILE, SERVER_FILE, FILE_NAME) if not (self.path / name).is_file()]
        if missing:
            raise ConfigError(f"{self.path} has no {', no '.join(missing)}: `cloud-server devices init` makes them")
        self.store.devices()

    def authority(self) -> bytes:
        """Return the authority's certificate, PEM. Raises ConfigError."""
        return _read(self.path / AUTHORITY_FILE)

    def init(self, hosts: Sequence[str], now: datetime) -> bool:
        """Make the folder, or only a new server certificate where it exists; returns whether it is new.

        hosts: names and addresses that the certificate is for, besides SERVER_NAME. Raises ConfigError.
        """
        names = [_general_name(host) for host in dict.fromkeys((SERVER_NAME, *hosts))]
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_new = not (self.path / AUTHORITY_FILE).exists()
            if is_new:
                self._make_authority(now)
            self._make_server_certificate(names, now)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written ({error.strerror}): choose another --access") from error
        self.store.create()
        return is_new

    def _make_authority(self, now: datetime) -> None:
        key = generate_private_key(SECP256R1())
        name = _name(f"SlimSplit server authority {secrets.token_hex(4)}")  # TLS looks signers up by their names
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = _builder(name, name, now, AUTHORITY_DAYS).public_key(key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(True, 0), True).add_extension(usage, True)
        _write_secret(self.path / AUTHORITY_KEY_FILE, _private(key))
        write_atomically(self.path / AUTHORITY_FILE, builder.sign(key, hashes.SHA256()).public_bytes(_PEM))

    def _make_server_certificate(self, names: Sequence[x509.GeneralName], now: datetime) -> None:
        try:
            authority = x509.load_pem_x509_certificate(self.authority())
            signer = serialization.load_pem_private_key(_read(self.path / AUTHORITY_KEY_FILE), None)
            assert isinstance(signer, EllipticCurvePrivateKey)
        except (ValueError, AssertionError) as error:
            raise ConfigError(f"the authority in {self.path} is damaged: put it back, or begin in a new one") from error
        key = generate_private_key(SECP256R1())
        builder = _builder(authority.subject, _name(SERVER_NAME), now, SERVER_DAYS).public_key(key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        certificate = builder.add_extension(x509.BasicConstraints(False, None), True).sign(signer, hashes.SHA256())
        _write_secret(self.server_file, _private(key) + certificate.public_bytes(_PEM))


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error


def _write_secret(path: Path, data: bytes) -> None:
    before = os.umask(0o077)
    try:
        write_atomically(path, data)
    finally:
        os.umask(before)


def _private(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _builder(issuer: x509.Name, subject: x509.Name, now: datetime, days: int) -> x509.CertificateBuilder:
    start = now.astimezone(timezone.utc) - BACKDATED
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(start).not_valid_after(start + timedelta(days=days))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ConfigError(f"--host takes a name or an address, such as edge-node.local, not {host!r}") from None
        return x509.DNSName(host)
