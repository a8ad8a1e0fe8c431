"""Certification authorities of a test's own, and what they sign."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class OwnPki:
    """An authority, whose file is `ca.pem` of a folder."""

    def __init__(self, folder: Path, name: str = "our authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key, self._name = folder, generate_private_key(SECP256R1()), _name(name)
        builder = self._builder(self._name, 0, 3650).public_key(self._key.public_key())
        signed = builder.add_extension(x509.BasicConstraints(True, 0), True).sign(self._key, hashes.SHA256())
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, common: str, host: str | None = None, begins: int = 0, ends: int = 365) -> Path:
        """Write a certificate and its key into one file. begins, ends: days from now."""
        key = generate_private_key(SECP256R1())
        builder = self._builder(_name(common), begins, ends).public_key(key.public_key())
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self._folder / f"{common}-{begins}-{ends}.pem"
        path.write_bytes(private + builder.sign(self._key, hashes.SHA256()).public_bytes(pem))
        return path

    def _builder(self, subject: x509.Name, begins: int, ends: int) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc) - timedelta(hours=1)
        builder = x509.CertificateBuilder().issuer_name(self._name).subject_name(subject)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now + begins * DAY).not_valid_after(now + ends * DAY)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
