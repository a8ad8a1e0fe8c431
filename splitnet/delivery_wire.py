"""The messages of delivery, between dataclasses and protobuf. What comes in is checked here."""

from __future__ import annotations

import re

from protos import model_delivery_pb2 as pb
from splitnet.errors import ProtocolError, ProtocolVersionError
from splitnet.messages import DIGEST_BYTES, MAX_DEVICE_ID_CHARS, PROTOCOL_VERSION
from splitnet.text import printable
from splitnet.updates.artefact import FORMS, MAX_VERSION
from splitnet.updates.delivery import (
    MAX_CHUNK_BYTES,
    MAX_REASON_CHARS,
    MAX_TARGET_CHARS,
    Chunk,
    DeviceState,
    FetchRequest,
    Offer,
    Phase,
)

_PHASES = {number: Phase(name.removeprefix("PHASE_").lower()) for name, number in pb.Phase.items()}
_NUMBERS = {phase: number for number, phase in _PHASES.items()}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_METADATA = re.compile(r"(?:[1-9][0-9]{0,9}\.)?(?:root|timestamp|snapshot|targets)\.json")


def state_to_proto(state: DeviceState) -> pb.DeviceState:
    """Return a device's state as a message."""
    return pb.DeviceState(
        protocol_version=PROTOCOL_VERSION,
        device_id=state.device_id,
        forms=state.forms,
        bundle_digest=bytes.fromhex(state.digest),
        version=state.version,
        phase=pb.Phase.Name(_NUMBERS[state.phase]),
        target=state.target[:MAX_TARGET_CHARS],
        reason=state.reason[:MAX_REASON_CHARS],
        done_bytes=state.done_bytes,
        total_bytes=state.total_bytes,
    )


def state_from_proto(message: pb.DeviceState) -> DeviceState:
    """Return the state in a message. Raises ProtocolError."""
    if message.protocol_version != PROTOCOL_VERSION:
        raise ProtocolVersionError(f"this server speaks version {PROTOCOL_VERSION}, not {message.protocol_version}")
    if len(message.bundle_digest) not in (0, DIGEST_BYTES):
        raise ProtocolError(f"a digest has {DIGEST_BYTES} bytes, this one {len(message.bundle_digest)}")
    if len(message.device_id) > MAX_DEVICE_ID_CHARS or not message.device_id.isprintable():
        raise ProtocolError(f"a device's id is printable text of at most {MAX_DEVICE_ID_CHARS} characters")
    if message.phase not in _PHASES or message.version > MAX_VERSION:
        raise ProtocolError("the device's phase or version is none")
    if len(message.forms) > 2 * len(FORMS) or not set(message.forms) & set(FORMS):
        raise ProtocolError(f"a device says which forms it can run: of {', '.join(FORMS)}")
    return DeviceState(
        message.device_id,
        tuple(form for form in dict.fromkeys(message.forms) if form in FORMS),
        message.bundle_digest.hex(),
        message.version,
        _PHASES[message.phase],
        printable(message.target, MAX_TARGET_CHARS),
        printable(message.reason, MAX_REASON_CHARS),
        message.done_bytes,
        message.total_bytes,
    )


def offer_to_proto(offer: Offer) -> pb.Offer:
    """Return an offer as a message."""
    return pb.Offer(version=offer.version, is_served=offer.is_served, name=offer.name, is_halted=offer.is_halted)


def offer_from_proto(message: pb.Offer) -> Offer:
    """Return the offer in a message. Raises ProtocolError."""
    if message.version > MAX_VERSION:
        raise ProtocolError(f"the server offers version {message.version}, which is none")
    return Offer(message.version, message.is_served, printable(message.name), message.is_halted)


def fetch_request_to_proto(request: FetchRequest) -> pb.FetchRequest:
    """Return a request for a piece as a message."""
    piece = pb.FetchRequest(offset=request.offset, max_bytes=request.max_bytes)
    if _DIGEST.fullmatch(request.file):
        piece.sha256 = bytes.fromhex(request.file)
    else:
        piece.metadata = request.file
    return piece


def fetch_request_from_proto(message: pb.FetchRequest) -> FetchRequest:
    """Return the request in a message. Raises ProtocolError: above all for names that are paths."""
    if not 1 <= message.max_bytes <= MAX_CHUNK_BYTES:
        raise ProtocolError(f"a piece has 1 to {MAX_CHUNK_BYTES} bytes, not {message.max_bytes}")
    file = message.metadata if message.WhichOneof("file") == "metadata" else message.sha256.hex()
    if not (_METADATA.fullmatch(file) or _DIGEST.fullmatch(file)):
        raise ProtocolError("a file is named by its SHA-256, or is one of TUF's")
    return FetchRequest(file, message.offset, message.max_bytes)


def chunk_to_proto(chunk: Chunk) -> pb.Chunk:
    """Return a piece as a message."""
    return pb.Chunk(data=chunk.data, is_missing=chunk.is_missing)


def chunk_from_proto(message: pb.Chunk) -> Chunk:
    """Return the piece in a message."""
    return Chunk(message.data, message.is_missing)
