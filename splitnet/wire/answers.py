"""The mapping between the answers to a frame and their messages. What comes in is bounded and finite."""

from __future__ import annotations

import math
from typing import Any

import grpc
import numpy as np

from protos import split_inference_pb2 as pb
from splitnet.detections import Detections
from splitnet.errors import ProtocolError
from splitnet.messages import (
    MAX_DETECTIONS,
    MAX_FRAME_SIDE,
    MAX_FURTHER,
    MAX_PARTS,
    FrameDetections,
    FrameError,
    ServerTiming,
)

_STATUS_OF_NUMBER = {status.value[0]: status for status in grpc.StatusCode}


def detections_to_proto(reply: FrameDetections) -> pb.FrameDetections:
    """Return the detections of a frame as a message."""
    timing = reply.timing
    return pb.FrameDetections(
        frame_id=reply.frame_id,
        capture_time_us=reply.capture_time_us,
        timing=pb.ServerTiming(wait_ms=timing.wait_ms, decode_ms=timing.decode_ms, infer_ms=timing.infer_ms),
        layers_used=reply.layers_used,
        further=[pb.TaskDetections(**_lists_of(one)) for one in reply.further],
        parts_used=reply.parts_used,
        **_lists_of(reply.detections),
    )


def detections_from_proto(message: pb.FrameDetections) -> FrameDetections:
    """Return the detections of a frame. Raises ProtocolError if the lists do not fit together."""
    if len(message.further) > MAX_FURTHER:
        raise ProtocolError(f"a frame is answered by {len(message.further)} further bundles, at most {MAX_FURTHER} can")
    if len(message.parts_used) > MAX_PARTS:
        raise ProtocolError(f"a frame is answered by {len(message.parts_used)} parts, at most {MAX_PARTS} can be")
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
        parts_used=tuple(message.parts_used),
    )


def _lists_of(found: Detections) -> dict[str, list[Any]]:
    boxes, scores, labels = found.boxes.ravel(), found.scores, found.labels
    return {"boxes": boxes.tolist(), "scores": scores.tolist(), "labels": labels.tolist()}


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


def error_to_proto(reply: FrameError) -> pb.FrameError:
    """Return the error of a frame as a message."""
    return pb.FrameError(
        frame_id=reply.frame_id,
        capture_time_us=reply.capture_time_us,
        code=pb.ErrorCode.Name(reply.status.value[0]),
        message=reply.message,
    )


def error_from_proto(message: pb.FrameError) -> FrameError:
    """Return the error of a frame; a code that is no status is UNKNOWN."""
    status = _STATUS_OF_NUMBER.get(message.code, grpc.StatusCode.UNKNOWN)
    return FrameError(message.frame_id, message.capture_time_us, status, message.message)
