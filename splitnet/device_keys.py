"""A device's identity: an Ed25519 key whose public half servers know, and the TLS certificates that it signs.

gRPC's TLS takes no Ed25519 keys in handshakes (BoringSSL leaves them out), but certificates that are signed by one. So
the identity is a small authority of its own. It signs a P-256 key that lives no longer than the process, and the server
looks for itself by which registered key a certificate was signed. RFC 5280, RFC 8410.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from splitnet.enrolment import MAX_CERTIFICATE_BYTES
from splitnet.errors import AccessError

KEY_ID_CHARS = 32
# The registry says who may still come, not the calendar: a device without a clock is no less itself.
_FROM, _UNTIL = datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2099, 12, 31, tzinfo=timezone.utc)
_BROKEN = (
    *(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)


def key_id(key: Ed25519PublicKey) -> str:
    """Return what names a key: the first digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:KEY_ID_CHARS]


def new_root(key: Ed25519PrivateKey) -> bytes:
    """Return the root certificate of an identity, DER."""
    id = key_id(key.public_key())
    name = _name(id)
    usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    builder = _builder(name, name, int(id, 16)).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True).add_extension(usage, critical=True)
    return builder.sign(key, None).public_bytes(serialization.Encoding.DER)


def new_client_certificate(key: Ed25519PrivateKey) -> tuple[bytes, bytes]:
    """Return a new TLS key and its certificate, signed by an identity; both PEM."""
    tls_key = generate_private_key(SECP256R1())
    builder = _builder(_name(key_id(key.public_key())), _name("slimsplit device")).public_key(tls_key.public_key())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    signed = builder.add_extension(x509.BasicConstraints(False, None), critical=True).add_extension(usage, False)
    pem = serialization.Encoding.PEM
    private = tls_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, signed.sign(key, None).public_bytes(pem)


def read_root(data: bytes) -> Ed25519PublicKey:
    """Return the public key of a stranger's root certificate, DER. Raises AccessError unless it is what we make."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise AccessError(f"a device's certificate has at most {MAX_CERTIFICATE_BYTES} bytes")
    try:
        root = x509.load_der_x509_certificate(data)
        key = root.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise AccessError("a device's certificate holds an Ed25519 key")
        key.verify(root.signature, root.tbs_certificate_bytes)
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (*_BROKEN, x509.ExtensionNotFound) as error:
        raise AccessError("the device's certificate is damaged") from error
    if not constraints.ca or constraints.path_length != 0 or not root.subject == root.issuer == _name(key_id(key)):
        raise AccessError("the device's certificate is not that of an identity")
    return key


def signer_of(client_certificate: bytes) -> str:
    """Return the key id that a TLS client certificate (PEM) claims to be signed by. Raises AccessError.

    It is only a claim until `check_signed`.
    """
    certificate = _loaded(client_certificate)
    try:
        issuer = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    except _BROKEN as error:
        raise AccessError("the certificate is damaged") from error
    if len(issuer) != 1 or not isinstance(issuer[0].value, str):
        raise AccessError("the certificate does not say who signed it")
    return issuer[0].value


def check_signed(client_certificate: bytes, by: bytes) -> None:
    """Raise AccessError unless a TLS client certificate (PEM) was signed by a public key (32 bytes)."""
    certificate = _loaded(client_certificate)
    try:
        Ed25519PublicKey.from_public_bytes(by).verify(certificate.signature, certificate.tbs_certificate_bytes)
    except _BROKEN as error:
        raise AccessError("the certificate was not signed by the device that it names") from error


def root_as_pem(root: bytes) -> bytes:
    """Return a root certificate in PEM, as gRPC takes it."""
    return x509.load_der_x509_certificate(root).public_bytes(serialization.Encoding.PEM)


def _loaded(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except _BROKEN as error:
        raise AccessError("the certificate is damaged") from error


def _builder(issuer: x509.Name, subject: x509.Name, serial: int | None = None) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject)
    return builder.serial_number(serial or x509.random_serial_number()).not_valid_before(_FROM).not_valid_after(_UNTIL)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
