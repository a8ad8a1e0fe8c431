"""The only mapping between the messages of a session, as dataclasses and as protobuf.

What comes in is hostile: every field is checked here before anything else sees it. A message that breaks
the rules raises ProtocolError.
"""

from __future__ import annotations

from protos import split_inference_pb2 as pb
from splitnet.errors import ProtocolError
from splitnet.messages import (
    Ack,
    Draining,
    Frame,
    FrameDetections,
    FrameError,
    InferRequest,
    Layer,
    Reply,
    Request,
)
from splitnet.wire.answers import detections_from_proto, detections_to_proto, error_from_proto, error_to_proto
from splitnet.wire.frames import frame_from_proto, frame_to_proto, layer_from_proto
from splitnet.wire.openings import open_from_proto, opened_from_proto, opened_to_proto, place_to_proto
from splitnet.wire.versions import check_version, wanted_digest_from_proto


def request_to_proto(request: Request) -> pb.DetectRequest:
    """Return a request of a session as a message."""
    if isinstance(request, Frame):
        return pb.DetectRequest(frame=frame_to_proto(request))
    if isinstance(request, Layer):
        return pb.DetectRequest(layer=pb.Layer(frame_id=request.frame_id, layer=request.layer, payload=request.payload))
    opening = pb.OpenSession(
        protocol_version=request.protocol_version,
        device_id=request.device_id,
        bundle_digest=bytes.fromhex(request.bundle_digest),
        further_bundle_digests=[bytes.fromhex(digest) for digest in request.further_digests],
        camera=request.camera,
        group=place_to_proto(request.group),
    )
    return pb.DetectRequest(open=opening)


def request_from_proto(message: pb.DetectRequest) -> Request:
    """Return the request in a message. Raises ProtocolError."""
    kind = message.WhichOneof("request")
    if kind == "frame":
        return frame_from_proto(message.frame)
    if kind == "layer":
        return layer_from_proto(message.layer)
    if kind == "open":
        return open_from_proto(message.open)
    raise ProtocolError("a request must be an opening or a frame; this one is empty or from a newer client")


def reply_to_proto(reply: Reply) -> pb.DetectReply:
    """Return a reply of a session as a message."""
    if isinstance(reply, Ack):
        ack = pb.Ack(
            frame_id=reply.frame_id,
            payload_bytes=reply.payload_bytes,
            server_receive_time_us=reply.server_receive_time_us,
            queue_depth=reply.queue_depth,
            layer=reply.layer,
        )
        return pb.DetectReply(ack=ack)
    if isinstance(reply, FrameDetections):
        return pb.DetectReply(detections=detections_to_proto(reply))
    if isinstance(reply, FrameError):
        return pb.DetectReply(error=error_to_proto(reply))
    if isinstance(reply, Draining):
        return pb.DetectReply(draining=pb.Draining(grace_ms=reply.grace_ms))
    return pb.DetectReply(opened=opened_to_proto(reply))


def reply_from_proto(message: pb.DetectReply) -> Reply:
    """Return the reply in a message. Raises ProtocolError."""
    kind = message.WhichOneof("reply")
    if kind == "ack":
        ack = message.ack
        return Ack(ack.frame_id, ack.payload_bytes, ack.server_receive_time_us, ack.queue_depth, ack.layer)
    if kind == "detections":
        return detections_from_proto(message.detections)
    if kind == "error":
        return error_from_proto(message.error)
    if kind == "draining":
        return Draining(message.draining.grace_ms)
    if kind == "opened":
        return opened_from_proto(message.opened)
    raise ProtocolError("a reply is empty or from a newer server: update this client")


def infer_request_to_proto(request: InferRequest) -> pb.InferRequest:
    """Return a request without a session as a message."""
    return pb.InferRequest(
        protocol_version=request.protocol_version,
        bundle_digest=bytes.fromhex(request.bundle_digest),
        frame=frame_to_proto(request.frame),
    )


def infer_request_from_proto(message: pb.InferRequest) -> InferRequest:
    """Return the request in a message. Raises ProtocolError, ProtocolVersionError for another version."""
    check_version(message.protocol_version)
    return InferRequest(
        bundle_digest=wanted_digest_from_proto(message.bundle_digest),
        frame=frame_from_proto(message.frame),
        protocol_version=message.protocol_version,
    )
