"""The only mapping between the messages as dataclasses and as protobuf.

What comes in is hostile: every field is checked here before anything else sees it. A message that breaks
the rules raises ProtocolError.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import grpc
import numpy as np

from protos import split_inference_pb2 as pb
from splitnet.codec.bitstream import MAX_LAYERS
from splitnet.detections import MAX_CLASSES, Detections
from splitnet.errors import (
    AccessError,
    BitstreamError,
    BundleError,
    BundleMismatchError,
    ConfigError,
    DeadlineExceededError,
    DrainingError,
    ForbiddenError,
    ProtocolError,
    ProtocolVersionError,
    ShedError,
    SplitError,
)
from splitnet.messages import (
    DIGEST_BYTES,
    MAX_CAMERA_CHARS,
    MAX_DEADLINE_MS,
    MAX_DETECTIONS,
    MAX_DEVICE_ID_CHARS,
    MAX_FRAME_SIDE,
    MAX_FURTHER,
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    Ack,
    BundleDescription,
    Draining,
    Frame,
    FrameDetections,
    FrameError,
    FurtherBundle,
    InferRequest,
    Layer,
    OpenSession,
    Reply,
    Request,
    ServerTiming,
    SessionLimits,
    SessionOpened,
)
from splitnet.operating_point import Codec, Mode, OperatingPoint

# Read downwards for an exception, the most special class first; the first row of a status is its exception.
STATUS_TABLE: tuple[tuple[type[SplitError], grpc.StatusCode], ...] = (
    (BundleMismatchError, grpc.StatusCode.FAILED_PRECONDITION),
    (ProtocolVersionError, grpc.StatusCode.FAILED_PRECONDITION),
    (BundleError, grpc.StatusCode.FAILED_PRECONDITION),
    (BitstreamError, grpc.StatusCode.INVALID_ARGUMENT),
    (ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (AccessError, grpc.StatusCode.UNAUTHENTICATED),
    (ForbiddenError, grpc.StatusCode.PERMISSION_DENIED),
    (ShedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceededError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (DrainingError, grpc.StatusCode.UNAVAILABLE),
    (SplitError, grpc.StatusCode.INTERNAL),
)

_CODEC_NAME = {codec: f"CODEC_{codec.name}" for codec in Codec if codec.is_sent}
_CODEC_OF_NUMBER = {pb.Codec.Value(name): codec for codec, name in _CODEC_NAME.items()}
_BY_THEMSELVES = (Codec.JPEG, Codec.WEBP)  # of images
_STATUS_OF_NUMBER = {status.value[0]: status for status in grpc.StatusCode}


def status_of(error: SplitError) -> grpc.StatusCode:
    """Return the status that tells a peer about an error."""
    return next(status for kind, status in STATUS_TABLE if isinstance(error, kind))


def error_of(status: grpc.StatusCode, message: str) -> SplitError:
    """Return the exception that a peer's status stands for; an unknown status is a plain SplitError."""
    return next((kind for kind, known in STATUS_TABLE if known is status), SplitError)(message)


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
        return _open_from_proto(message.open)
    raise ProtocolError("a request must be an opening or a frame; this one is empty or from a newer client")


def frame_to_proto(frame: Frame) -> pb.Frame:
    """Return a frame as a message. Raises ConfigError for an operating point that has no payload."""
    if not frame.operating_point.is_sent:
        raise ConfigError(f"a frame at operating point {frame.operating_point} is never sent: handle it on the device")
    return pb.Frame(
        frame_id=frame.frame_id,
        capture_time_us=frame.capture_time_us,
        operating_point=pb.OperatingPoint(
            codec=_CODEC_NAME[frame.operating_point.codec],
            width=frame.operating_point.width,
            quality=frame.operating_point.quality,
        ),
        payload=frame.payload,
        deadline_ms=frame.deadline_ms,
        frame_width=frame.frame_width,
        frame_height=frame.frame_height,
        whole_image=frame.whole_image,
        layers=frame.layers,
        sent_time_us=frame.sent_time_us,
    )


def layer_from_proto(message: pb.Layer) -> Layer:
    """Return the layer in a message. Raises ProtocolError if a field is out of range."""
    _check_payload(message.payload)
    if not 1 <= message.layer < MAX_LAYERS:
        raise ProtocolError(f"the layers after the first are 1 to {MAX_LAYERS - 1}, not {message.layer}")
    return Layer(message.frame_id, message.layer, message.payload)


def _check_payload(payload: bytes) -> None:
    if not 0 < len(payload) <= MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"a payload has 1 to {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")


def frame_from_proto(message: pb.Frame) -> Frame:
    """Return the frame in a message. Raises ProtocolError if a field is missing or out of range."""
    _check_payload(message.payload)
    point = _operating_point_from_proto(message.operating_point)
    _check_size(message, point)
    if message.layers and not (2 <= message.layers <= MAX_LAYERS and point.mode is Mode.SPLIT):
        raise ProtocolError(f"features are sent in 2 to {MAX_LAYERS} layers, {point} not in {message.layers}")
    if message.deadline_ms > MAX_DEADLINE_MS:
        raise ProtocolError(f"a deadline is at most {MAX_DEADLINE_MS} ms, not {message.deadline_ms}")
    return Frame(
        frame_id=message.frame_id,
        capture_time_us=message.capture_time_us,
        operating_point=point,
        payload=message.payload,
        frame_width=message.frame_width,
        frame_height=message.frame_height,
        deadline_ms=message.deadline_ms,
        whole_image=message.whole_image,
        layers=message.layers,
        sent_time_us=message.sent_time_us,
    )


def _check_size(message: pb.Frame, point: OperatingPoint) -> None:
    """Refuse a size that no frame has. Only a whole image may leave it to its own header."""
    if message.whole_image and point.codec not in _BY_THEMSELVES:
        raise ProtocolError(f"a whole image is JPEG or WebP, not {point}: name its codec, or leave whole_image out")
    width, height = message.frame_width, message.frame_height
    if message.whole_image and width == height == 0:
        return
    if not (1 <= width <= MAX_FRAME_SIDE and 1 <= height <= MAX_FRAME_SIDE):
        raise ProtocolError(f"a frame has 1 to {MAX_FRAME_SIDE} pixels a side, not {width}x{height}")


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
        return pb.DetectReply(error=_error_to_proto(reply))
    if isinstance(reply, Draining):
        return pb.DetectReply(draining=pb.Draining(grace_ms=reply.grace_ms))
    return pb.DetectReply(opened=_opened_to_proto(reply))


def reply_from_proto(message: pb.DetectReply) -> Reply:
    """Return the reply in a message. Raises ProtocolError."""
    kind = message.WhichOneof("reply")
    if kind == "ack":
        ack = message.ack
        return Ack(ack.frame_id, ack.payload_bytes, ack.server_receive_time_us, ack.queue_depth, ack.layer)
    if kind == "detections":
        return detections_from_proto(message.detections)
    if kind == "error":
        return _error_from_proto(message.error)
    if kind == "draining":
        return Draining(message.draining.grace_ms)
    if kind == "opened":
        return _opened_from_proto(message.opened)
    raise ProtocolError("a reply is empty or from a newer server: update this client")


def detections_to_proto(reply: FrameDetections) -> pb.FrameDetections:
    """Return the detections of a frame as a message."""
    timing = reply.timing
    return pb.FrameDetections(
        frame_id=reply.frame_id,
        capture_time_us=reply.capture_time_us,
        timing=pb.ServerTiming(wait_ms=timing.wait_ms, decode_ms=timing.decode_ms, infer_ms=timing.infer_ms),
        layers_used=reply.layers_used,
        further=[pb.TaskDetections(**_lists_of(one)) for one in reply.further],
        **_lists_of(reply.detections),
    )


def _lists_of(found: Detections) -> dict[str, list[Any]]:
    boxes, scores, labels = found.boxes.ravel(), found.scores, found.labels
    return {"boxes": boxes.tolist(), "scores": scores.tolist(), "labels": labels.tolist()}


def detections_from_proto(message: pb.FrameDetections) -> FrameDetections:
    """Return the detections of a frame. Raises ProtocolError if the lists do not fit together."""
    if len(message.further) > MAX_FURTHER:
        raise ProtocolError(f"a frame is answered by {len(message.further)} further bundles, at most {MAX_FURTHER} can")
    timing = message.timing
    times = (timing.wait_ms, timing.decode_ms, timing.infer_ms)
    if not all(map(math.isfinite, times)):
        raise ProtocolError("the times of a frame are numbers that are none: update the server")
    return FrameDetections(
        frame_id=message.frame_id,
        capture_time_us=message.capture_time_us,
        detections=_found_from_proto(message),
        timing=ServerTiming(*times),
        further=tuple(_found_from_proto(one) for one in message.further),
        layers_used=message.layers_used,
    )


def _found_from_proto(message: pb.FrameDetections | pb.TaskDetections) -> Detections:
    count = len(message.scores)
    if len(message.boxes) != 4 * count or len(message.labels) != count or count > MAX_DETECTIONS:
        raise ProtocolError(
            f"detections do not fit together: {len(message.boxes)} box coordinates, {count} scores, "
            f"{len(message.labels)} labels, at most {MAX_DETECTIONS} objects"
        )
    found = Detections(
        boxes=np.array(message.boxes, np.float32).reshape(count, 4),
        scores=np.array(message.scores, np.float32),
        labels=np.array(message.labels, np.uint32).astype(np.int32),
    )
    _check_numbers(found)
    return found


def _check_numbers(detections: Detections) -> None:
    """Refuse what could neither be drawn nor written as JSON. A comparison with NaN is false."""
    inside = bool((np.abs(detections.boxes) <= MAX_FRAME_SIDE).all())
    if not (inside and np.isfinite(detections.scores).all()):
        raise ProtocolError("detections hold numbers that are none, or beyond any frame: update the server")


def infer_request_to_proto(request: InferRequest) -> pb.InferRequest:
    """Return a request without a session as a message."""
    return pb.InferRequest(
        protocol_version=request.protocol_version,
        bundle_digest=bytes.fromhex(request.bundle_digest),
        frame=frame_to_proto(request.frame),
    )


def infer_request_from_proto(message: pb.InferRequest) -> InferRequest:
    """Return the request in a message. Raises ProtocolError, ProtocolVersionError for another version."""
    _check_version(message.protocol_version)
    return InferRequest(
        bundle_digest=_wanted_digest_from_proto(message.bundle_digest),
        frame=frame_from_proto(message.frame),
        protocol_version=message.protocol_version,
    )


def _open_from_proto(message: pb.OpenSession) -> OpenSession:
    _check_version(message.protocol_version)
    if len(message.device_id) > MAX_DEVICE_ID_CHARS:
        raise ProtocolError(f"a device id has at most {MAX_DEVICE_ID_CHARS} characters")
    if len(message.camera) > MAX_CAMERA_CHARS:
        raise ProtocolError(f"the name of a camera has at most {MAX_CAMERA_CHARS} characters")
    digest = _wanted_digest_from_proto(message.bundle_digest)
    if len(message.further_bundle_digests) > MAX_FURTHER:
        raise ProtocolError(f"a session has at most {MAX_FURTHER} further bundles: open another for the others")
    further = tuple(map(_digest_from_proto, message.further_bundle_digests))
    if len({digest, *further}) < 1 + len(further):
        raise ProtocolError("a session names the same bundle twice: name each once")
    return OpenSession(message.device_id, digest, message.protocol_version, further, message.camera)


def _opened_to_proto(reply: SessionOpened) -> pb.SessionOpened:
    return pb.SessionOpened(
        protocol_version=reply.protocol_version,
        bundle_name=reply.bundle_name,
        bundle_digest=bytes.fromhex(reply.bundle_digest),
        server=reply.server,
        bundle=None if reply.bundle is None else _description_to_proto(reply.bundle),
        limits=None if reply.limits is None else pb.SessionLimits(**asdict(reply.limits)),
        session_id=reply.session_id,
        further=[_further_to_proto(one) for one in reply.further],
    )


def _opened_from_proto(message: pb.SessionOpened) -> SessionOpened:
    _check_version(message.protocol_version)
    return SessionOpened(
        bundle_name=message.bundle_name,
        bundle_digest=_digest_from_proto(message.bundle_digest),
        server=message.server,
        protocol_version=message.protocol_version,
        bundle=_description_from_proto(message.bundle) if message.HasField("bundle") else None,
        limits=_limits_from_proto(message.limits) if message.HasField("limits") else None,
        session_id=message.session_id,
        further=_further_from_proto(message),
    )


def _further_to_proto(one: FurtherBundle) -> pb.FurtherBundle:
    return pb.FurtherBundle(
        bundle_name=one.bundle_name,
        bundle_digest=bytes.fromhex(one.bundle_digest),
        bundle=_description_to_proto(one.bundle),
        takes_features=one.takes_features,
    )


def _further_from_proto(message: pb.SessionOpened) -> tuple[FurtherBundle, ...]:
    if len(message.further) > MAX_FURTHER:
        raise ProtocolError(f"the server names {len(message.further)} further bundles, at most {MAX_FURTHER} can be")
    return tuple(
        FurtherBundle(
            one.bundle_name,
            _digest_from_proto(one.bundle_digest),
            _description_from_proto(one.bundle),
            one.takes_features,
        )
        for one in message.further
    )


def _description_to_proto(bundle: BundleDescription) -> pb.BundleDescription:
    return pb.BundleDescription(**{**vars(bundle), "codecs": [_CODEC_NAME[codec] for codec in bundle.codecs]})


def _description_from_proto(message: pb.BundleDescription) -> BundleDescription:
    if len(message.class_names) > MAX_CLASSES or not 0.0 <= message.score_threshold <= 1.0:
        raise ProtocolError("the server describes a bundle that cannot be: update the server")
    return BundleDescription(
        input_size=message.input_size,
        stride=message.stride,
        class_names=tuple(message.class_names),
        widths=message.widths,
        qualities=message.qualities,
        score_threshold=message.score_threshold,
        # Those that a newer server takes besides are of no use here.
        codecs=tuple(_CODEC_OF_NUMBER[number] for number in message.codecs if number in _CODEC_OF_NUMBER),
    )


def _limits_from_proto(message: pb.SessionLimits) -> SessionLimits:
    limits = SessionLimits(**{name: getattr(message, name) for name in SessionLimits.__dataclass_fields__})
    return replace(limits, max_layers=min(limits.max_layers, MAX_LAYERS))


def _error_to_proto(reply: FrameError) -> pb.FrameError:
    return pb.FrameError(
        frame_id=reply.frame_id,
        capture_time_us=reply.capture_time_us,
        code=pb.ErrorCode.Name(reply.status.value[0]),
        message=reply.message,
    )


def _error_from_proto(message: pb.FrameError) -> FrameError:
    status = _STATUS_OF_NUMBER.get(message.code, grpc.StatusCode.UNKNOWN)
    return FrameError(message.frame_id, message.capture_time_us, status, message.message)


def _check_version(theirs: int) -> None:
    """Come first: the other fields of another version may mean something else."""
    if theirs != PROTOCOL_VERSION:
        raise ProtocolVersionError(
            f"the peer speaks protocol version {theirs}, this side {PROTOCOL_VERSION}: update the older one"
        )


def _wanted_digest_from_proto(digest: bytes) -> str:
    """Return the digest that a client asks for, empty if it leaves the choice to the server."""
    return _digest_from_proto(digest) if digest else ""


def _digest_from_proto(digest: bytes) -> str:
    if len(digest) != DIGEST_BYTES:
        raise ProtocolError(f"a bundle digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    return digest.hex()


def _operating_point_from_proto(message: pb.OperatingPoint) -> OperatingPoint:
    codec = _CODEC_OF_NUMBER.get(message.codec)
    if codec is None:
        raise ProtocolError(f"codec {message.codec} is unknown here: use one of {[c.value for c in _CODEC_NAME]}")
    try:
        return OperatingPoint(codec, message.width, message.quality)
    except ConfigError as error:
        raise ProtocolError(str(error)) from error
