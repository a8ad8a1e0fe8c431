"""Reasons for the end of a stream, from gRPC's status: as one of our errors, in words for people."""

from __future__ import annotations

import logging

import grpc

from splitnet.errors import LinkError, ProtocolError, SplitError
from splitnet.text import printable
from splitnet.wire.statuses import error_of

logger = logging.getLogger(__name__)

CUT = "the connection was cut"
_NOT_TRUSTED = "this device does not trust the server's certificate: enrol it anew, or see --server-ca"
# What gRPC says of its own accord, by a part of it. Everything else is the server's text.
_IN_WORDS = {
    "CERTIFICATE_VERIFY_FAILED: certificate has expired": "the server's certificate has expired, or the clock is wrong",
    "certificate is not yet valid": "the server's certificate is not valid yet: look at the clock of this device",
    "CERTIFICATE_VERIFY_FAILED": _NOT_TRUSTED,
    "BAD_SIGNATURE": _NOT_TRUSTED,
    "Peer name": "the server's certificate is for another name: see --server-ca, or `cloud-server devices init --host`",
    "Hostname Verification": "the server's certificate is for another name: see `cloud-server devices init --host`",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: is it a server of before, or the wrong port?",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the server takes enrolled devices only: edge-client enrol",
    "handshake failed": "the TLS handshake failed: not enrolled there, revoked, or the wrong port",
    "Connection refused": "nothing listens there (connection refused)",
    "No route to host": "there is no way to it (no route to host)",
    "Network is unreachable": "there is no way to it (network is unreachable)",
    "Connection timed out": "it cannot be reached (connection timed out)",
    "Timeout occurred": "it cannot be reached (connection timed out)",
    "Connection reset": CUT,
    "Broken pipe": CUT,
    "Socket closed": CUT,
    "GOAWAY": CUT,
    "ping timeout": "it has fallen silent",
    "keepalive": "it has fallen silent",
    "metadata size exceeds": "its refusal is too long to be read",
    "unusually large": "its answer is too long to be read",
    "larger than max": "its answer is too long to be read",
    "Stream removed": CUT,
    "failed to connect": "it cannot be reached",
    "trying to connect an http1": "it speaks HTTP/1, so it is no cloud-server",
}


def session_error(status: grpc.StatusCode, details: str) -> SplitError:
    """Return LinkError for what may pass, and an error of another kind for what will not."""
    logger.debug("the stream has ended: %s: %s", status.name, printable(details))
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError("the server speaks gRPC but is no cloud-server: check --server")
    text = next((words for part, words in _IN_WORDS.items() if part in details), printable(details))
    if status is grpc.StatusCode.FAILED_PRECONDITION:
        return error_of(status, text)
    if status in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return error_of(status, text)
    if status is grpc.StatusCode.INVALID_ARGUMENT:
        return ProtocolError(text)
    return LinkError(text or f"the server has ended the session ({status.name.lower().replace('_', ' ')})")
