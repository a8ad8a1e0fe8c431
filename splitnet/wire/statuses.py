"""The statuses that tell a peer about an error, both ways."""

from __future__ import annotations

import grpc

from splitnet.errors import (
    AccessError,
    BitstreamError,
    BundleError,
    BundleMismatchError,
    ConfigError,
    DeadlineExceededError,
    DrainingError,
    ForbiddenError,
    PlaceTakenError,
    ProtocolError,
    ProtocolVersionError,
    ShedError,
    SplitError,
)

STATUS_TABLE: tuple[tuple[type[SplitError], grpc.StatusCode], ...] = (
    (BundleMismatchError, grpc.StatusCode.FAILED_PRECONDITION),
    (ProtocolVersionError, grpc.StatusCode.FAILED_PRECONDITION),
    (BundleError, grpc.StatusCode.FAILED_PRECONDITION),
    (BitstreamError, grpc.StatusCode.INVALID_ARGUMENT),
    (ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (AccessError, grpc.StatusCode.UNAUTHENTICATED),
    (ForbiddenError, grpc.StatusCode.PERMISSION_DENIED),
    (PlaceTakenError, grpc.StatusCode.ALREADY_EXISTS),
    (ShedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceededError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (DrainingError, grpc.StatusCode.UNAVAILABLE),
    (SplitError, grpc.StatusCode.INTERNAL),
)


def status_of(error: SplitError) -> grpc.StatusCode:
    """Return the status that tells a peer about an error."""
    return next(status for kind, status in STATUS_TABLE if isinstance(error, kind))


def error_of(status: grpc.StatusCode, message: str) -> SplitError:
    """Return the exception that a peer's status stands for; an unknown status is a plain SplitError."""
    return next((kind for kind, known in STATUS_TABLE if known is status), SplitError)(message)
