"""What every opening is checked for: the version of the protocol, and the digests of bundles."""

from __future__ import annotations

from splitnet.errors import ProtocolError, ProtocolVersionError
from splitnet.messages import DIGEST_BYTES, PROTOCOL_VERSION


def check_version(theirs: int) -> None:
    """Raise ProtocolVersionError on another version; comes first: its other fields may mean something else."""
    if theirs != PROTOCOL_VERSION:
        raise ProtocolVersionError(
            f"the peer speaks protocol version {theirs}, this side {PROTOCOL_VERSION}: update the older one"
        )


def wanted_digest_from_proto(digest: bytes) -> str:
    """Return the digest that a client asks for, empty if it leaves the choice to the server."""
    return digest_from_proto(digest) if digest else ""


def digest_from_proto(digest: bytes) -> str:
    """Return a digest as hexadecimal digits. Raises ProtocolError on another length."""
    if len(digest) != DIGEST_BYTES:
        raise ProtocolError(f"a bundle digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    return digest.hex()
