"""The messages of enrolment, between dataclasses and protobuf. What comes in is checked here."""

from __future__ import annotations

from protos import device_enrolment_pb2 as pb
from splitnet.enrolment import (
    MAX_AUTHORITY_BYTES,
    MAX_CERTIFICATE_BYTES,
    MAX_NAME_CHARS,
    PROOF_BYTES,
    EnrolReply,
    EnrolRequest,
    checked_name,
)
from splitnet.errors import ProtocolError, ProtocolVersionError
from splitnet.messages import PROTOCOL_VERSION


def enrol_request_to_proto(request: EnrolRequest) -> pb.EnrolRequest:
    """Return a request as a message."""
    return pb.EnrolRequest(protocol_version=PROTOCOL_VERSION, certificate=request.certificate, proof=request.proof)


def enrol_request_from_proto(message: pb.EnrolRequest) -> EnrolRequest:
    """Return the request in a message. Raises ProtocolError."""
    if message.protocol_version != PROTOCOL_VERSION:
        raise ProtocolVersionError(f"this server speaks version {PROTOCOL_VERSION}, not {message.protocol_version}")
    if not 0 < len(message.certificate) <= MAX_CERTIFICATE_BYTES or len(message.proof) != PROOF_BYTES:
        raise ProtocolError(f"a certificate has up to {MAX_CERTIFICATE_BYTES} bytes, a proof {PROOF_BYTES}")
    return EnrolRequest(message.certificate, message.proof)


def enrol_reply_to_proto(reply: EnrolReply) -> pb.EnrolReply:
    """Return a reply as a message."""
    return pb.EnrolReply(
        device_id=reply.device_id,
        port=reply.port,
        server_authority=reply.server_authority,
        server_name=reply.server_name,
        proof=reply.proof,
    )


def enrol_reply_from_proto(message: pb.EnrolReply) -> EnrolReply:
    """Return the reply in a message. Raises ProtocolError."""
    if not 0 < message.port < 65536 or len(message.proof) != PROOF_BYTES:
        raise ProtocolError("the server's answer has no port or no proof")
    if len(message.server_authority) > MAX_AUTHORITY_BYTES or len(message.server_name) > MAX_NAME_CHARS:
        raise ProtocolError("the server's answer is too long")
    if message.server_name:
        checked_name(message.server_name)
    return EnrolReply(
        checked_name(message.device_id), message.port, message.server_authority, message.server_name, message.proof
    )
