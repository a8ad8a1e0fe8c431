"""Enrolment by a code of one use: both ends prove that they know it, and neither sends it.

The proofs name the server's TLS certificate, so that nobody can stand between the two. A code has 40 bits, and every
guess costs whoever overhears a proof one scrypt (RFC 7914); a server that is asked counts the guesses. See
protos/device_enrolment.proto.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from splitnet.errors import ConfigError, ProtocolError

SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
CODE_CHARS = 8
PROOF_BYTES = 32
MAX_CERTIFICATE_BYTES = 2048
MAX_AUTHORITY_BYTES = 16_384
MAX_NAME_CHARS = 64
DEFAULT_ENROL_PORT = 50052

_LOOKALIKES = str.maketrans("ILO", "110")
_SALT = b"slimsplit enrolment 1"
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 32}


@dataclass(frozen=True)
class EnrolRequest:
    """A device asks for a name."""

    certificate: bytes  # its root, DER
    proof: bytes


@dataclass(frozen=True)
class EnrolReply:
    """What the device is from now on, and whom it trusts."""

    device_id: str
    port: int  # of the sessions
    server_authority: bytes  # PEM; empty: a public authority
    server_name: str  # that the server's certificates are for; empty: the host's own
    proof: bytes = b""


def new_code() -> str:
    """Return a code as people read it, "ABCD-1234"."""
    signs = "".join(secrets.choice(SIGNS) for _ in range(CODE_CHARS))
    return f"{signs[:4]}-{signs[4:]}"


def code_key(code: str) -> bytes:
    """Return the key that a code stands for, in a twentieth of a second. Raises ConfigError if it is no code."""
    signs = code.upper().replace("-", "").replace(" ", "").translate(_LOOKALIKES)
    if len(signs) != CODE_CHARS or not set(signs) <= set(SIGNS):
        raise ConfigError("a code has eight letters and digits, such as ABCD-1234")
    return hashlib.scrypt(signs.encode(), salt=_SALT, **_SCRYPT)


def device_proof(key: bytes, server_certificate: bytes, certificate: bytes) -> bytes:
    """Return what shows that a device knows the code, at this server and for this certificate (both DER)."""
    return _mac(key, b"slimsplit device" + hashlib.sha256(server_certificate).digest() + certificate)


def server_proof(key: bytes, certificate: bytes, reply: EnrolReply) -> bytes:
    """Return what shows that a server knows the code, and that the reply to this device's certificate is its own."""
    fields = (reply.device_id.encode(), reply.port.to_bytes(4, "big"), reply.server_authority)
    told = b"".join(len(one).to_bytes(4, "big") + one for one in (*fields, reply.server_name.encode()))
    return _mac(key, b"slimsplit server" + certificate + told)


def is_same(proof: bytes, other: bytes) -> bool:
    """Return whether two proofs are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(proof, other)


def checked_name(name: str) -> str:
    """Return the name of a device. Raises ProtocolError if it is none: letters, digits, dots, hyphens, underscores."""
    fits = 0 < len(name) <= MAX_NAME_CHARS and name.isascii() and name[0].isalnum()
    if not fits or not all(sign.isalnum() or sign in "._-" for sign in name):
        raise ProtocolError(f"a device's name has up to {MAX_NAME_CHARS} letters, digits, dots, hyphens or underscores")
    return name


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
