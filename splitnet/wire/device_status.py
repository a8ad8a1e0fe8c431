"""The mapping between a device's status and its message. What comes in is bounded, finite and fit to be shown."""

from __future__ import annotations

import math
from dataclasses import asdict

from protos import split_inference_pb2 as pb
from splitnet.device_status import (
    MAX_DECISIONS,
    MAX_LOG_LINES,
    MAX_NAME_CHARS,
    MAX_POINT_CHARS,
    MAX_PREVIEW_BYTES,
    MAX_STATUS_BYTES,
    MAX_TEXT_CHARS,
    DeviceDecision,
    DeviceLogLine,
    DeviceStatus,
    FrameCounts,
)
from splitnet.errors import ProtocolError
from splitnet.text import printable, without_secrets

JPEG_START = b"\xff\xd8\xff"
_NUMBERS = (
    *("run_s", "deadline_ms", "latency_p50_ms", "latency_p95_ms"),
    *("capacity_bps", "rtt_ms", "cpu_share", "temperature_c"),
)


def status_to_proto(status: DeviceStatus) -> pb.DetectRequest:
    """Return a status as a message of a session."""
    return pb.DetectRequest(status=pb.DeviceStatus(**asdict(status)))


def status_from_proto(message: pb.DeviceStatus) -> DeviceStatus:
    """Return the status in a message. Raises ProtocolError if it is too large, or holds what is no number."""
    size = message.ByteSize()
    if size > MAX_STATUS_BYTES or len(message.preview) > MAX_PREVIEW_BYTES:
        raise ProtocolError(f"a status has at most {MAX_STATUS_BYTES} bytes, this one {size}: send less of the log")
    if len(message.decisions) > MAX_DECISIONS or len(message.log) > MAX_LOG_LINES:
        raise ProtocolError(f"a status has at most {MAX_DECISIONS} decisions and {MAX_LOG_LINES} lines of the log")
    if message.preview and not message.preview.startswith(JPEG_START):
        raise ProtocolError("the preview of a status is a JPEG")
    return DeviceStatus(
        software=shown(message.software, MAX_NAME_CHARS),
        board=shown(message.board, MAX_NAME_CHARS),
        frames=FrameCounts(**{name: getattr(message.frames, name) for name in vars(FrameCounts())}),
        payload_bytes=message.payload_bytes,
        point=shown(message.point, MAX_POINT_CHARS),
        left_out=message.left_out,
        capacity_is_bound=message.capacity_is_bound,
        decisions=tuple(map(_decision, message.decisions)),
        log=tuple(map(_line, message.log)),
        preview=message.preview,
        **{name: _number(getattr(message, name), name) for name in _NUMBERS},
    )


def _decision(message: pb.DeviceDecision) -> DeviceDecision:
    point, reason = shown(message.point, MAX_POINT_CHARS), shown(message.reason, MAX_TEXT_CHARS)
    return DeviceDecision(message.frame_id, point, reason, _number(message.predicted_ms, "predicted_ms"))


def _line(message: pb.DeviceLogLine) -> DeviceLogLine:
    return DeviceLogLine(message.unix_ms, shown(message.level, MAX_POINT_CHARS), shown(message.text, MAX_TEXT_CHARS))


def _number(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise ProtocolError(f"a status says {value} for {name}")
    return value


def shown(text: str, most: int) -> str:
    """Return text of a stranger as it may be shown: printable, without secrets, bounded."""
    return printable(without_secrets(text), most)
