"""The line of a frame with detections, as plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from edge_client.frames import FrameResult
from splitnet.detections import Detections

NamedClasses = Sequence[tuple[str, Sequence[str]]]  # names of bundles, and of their classes


def detection_record(result: FrameResult, class_names: Sequence[str], further: NamedClasses = ()) -> dict[str, Any]:
    """Return the line of a result. Boxes are xyxy in pixels of the frame; "file" is null for cameras,
    and "camera" there where cameras have names.

    further: the further bundles, if there are any. What they found is null if they were not asked.
    """
    record = _record(result, class_names)
    if further:
        found = result.further or (None,) * len(further)
        record["further"] = {
            name: None if one is None else _detections(one, names)
            for (name, names), one in zip(further, found, strict=True)
        }
    return record


def _record(result: FrameResult, class_names: Sequence[str]) -> dict[str, Any]:
    frame, point = result.frame, result.encoded.point
    return {
        **({"camera": frame.camera} if frame.camera else {}),
        "frame_id": frame.frame_id,
        "file": None if frame.file is None else _readable(frame.file),
        "time_utc": _utc(frame.unix_time),
        "capture_time_s": round(frame.capture_time, 6),
        "position_s": round(frame.position_s, 4),
        "mode": point.mode.value,
        "codec": point.codec.value,
        "width": point.width,
        "quality": point.quality,
        "bytes": len(result.encoded.payload),
        "encode_ms": round(result.encoded.encode_ms, 3),
        "end_to_end_ms": round(result.end_to_end_ms, 3),
        "late": result.late,
        "repeated": result.repeated,
        "predicted": result.predicted,
        **({} if result.parts_used is None else {"parts": list(result.parts_used)}),
        "server": {
            "wait_ms": round(result.server.wait_ms, 3),
            "decode_ms": round(result.server.decode_ms, 3),
            "infer_ms": round(result.server.infer_ms, 3),
        },
        "detections": _detections(result.detections, class_names),
    }


def label_name(label: int, class_names: Sequence[str]) -> str:
    """Return the name of a class, or its number when the server knows more classes than the bundle."""
    return class_names[label] if 0 <= label < len(class_names) else str(label)


def _detections(found: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "label": label_name(int(label), class_names),
            "score": round(float(score), 4),
            "box": [round(float(side), 1) for side in box],
        }
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]


def _readable(name: str) -> str:
    """Return a file's name as text: a byte that is not UTF-8 stands as "\\\\xe9"."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _utc(unix_time: float) -> str:
    """Return a moment as "2026-11-30T14:02:37.250Z"."""
    moment = datetime.fromtimestamp(unix_time, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
