"""Words for a stream that has ended."""

from __future__ import annotations

import grpc
import pytest

from edge_client.transport.status import session_error
from splitnet.errors import BundleMismatchError, LinkError, ProtocolError

REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.5:50051: Failed to connect to remote host: "
    "connect: Connection refused (111)"
)


@pytest.mark.parametrize(
    ("status", "details", "said"),
    [
        (grpc.StatusCode.UNAVAILABLE, REFUSED, "nothing listens there (connection refused)"),
        (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer", "the connection was cut"),
        (grpc.StatusCode.UNAVAILABLE, "the server is shutting down", "the server is shutting down"),
        (grpc.StatusCode.UNAVAILABLE, "", "the server has ended the session (unavailable)"),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Stream removed (received metadata size exceeds hard limit (value length 20000 vs. 16384))",
            "its refusal is too long to be read",
        ),
        (grpc.StatusCode.INTERNAL, "\x1b[2Jboo\n\x07", "\\x1b[2Jboo \\x07"),
        (grpc.StatusCode.INTERNAL, "x" * 5000, "x" * 299 + "…"),
    ],
)
def test_it_is_said_in_words_for_people(status, details, said):
    error = session_error(status, details)
    assert isinstance(error, LinkError)
    assert str(error) == said


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, BundleMismatchError),
        (grpc.StatusCode.INVALID_ARGUMENT, ProtocolError),
        (grpc.StatusCode.UNIMPLEMENTED, ProtocolError),
    ],
)
def test_what_will_not_pass_is_no_link_error(status, kind):
    assert type(session_error(status, "other")) is kind
