"""The mapping between frames and their messages. What comes in is hostile: every field is checked first."""

from __future__ import annotations

from protos import split_inference_pb2 as pb
from splitnet.codec.bitstream import MAX_LAYERS
from splitnet.errors import ConfigError, ProtocolError
from splitnet.messages import MAX_DEADLINE_MS, MAX_FRAME_SIDE, MAX_PAYLOAD_BYTES, Frame, Layer
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.wire.codecs import CODEC_NAME, CODEC_OF_NUMBER

_BY_THEMSELVES = (Codec.JPEG, Codec.WEBP)  # of images


def frame_to_proto(frame: Frame) -> pb.Frame:
    """Return a frame as a message. Raises ConfigError for an operating point that has no payload."""
    if not frame.operating_point.is_sent:
        raise ConfigError(f"a frame at operating point {frame.operating_point} is never sent: handle it on the device")
    return pb.Frame(
        frame_id=frame.frame_id,
        capture_time_us=frame.capture_time_us,
        operating_point=pb.OperatingPoint(
            codec=CODEC_NAME[frame.operating_point.codec],
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
        group_stream=frame.group_stream,
    )


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
        group_stream=message.group_stream,
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


def _check_size(message: pb.Frame, point: OperatingPoint) -> None:
    """Refuse a size that no frame has. Only a whole image may leave it to its own header."""
    if message.whole_image and point.codec not in _BY_THEMSELVES:
        raise ProtocolError(f"a whole image is JPEG or WebP, not {point}: name its codec, or leave whole_image out")
    width, height = message.frame_width, message.frame_height
    if message.whole_image and width == height == 0:
        return
    if not (1 <= width <= MAX_FRAME_SIDE and 1 <= height <= MAX_FRAME_SIDE):
        raise ProtocolError(f"a frame has 1 to {MAX_FRAME_SIDE} pixels a side, not {width}x{height}")


def _operating_point_from_proto(message: pb.OperatingPoint) -> OperatingPoint:
    codec = CODEC_OF_NUMBER.get(message.codec)
    if codec is None:
        raise ProtocolError(f"codec {message.codec} is unknown here: use one of {[c.value for c in CODEC_NAME]}")
    try:
        return OperatingPoint(codec, message.width, message.quality)
    except ConfigError as error:
        raise ProtocolError(str(error)) from error
