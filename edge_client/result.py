"""What is known of a frame once it is answered: the record that sinks receive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_client.capture.pacer import CapturedFrame
from edge_client.encoding.encoder import EncodedFrame
from splitnet.detections import Detections
from splitnet.messages import ServerTiming


@dataclass(frozen=True)
class FrameResult:
    """A frame, how it was encoded, and what was found in it.

    end_to_end_ms: from capture until the detections were here. late: that was after the deadline.
    """

    frame: CapturedFrame
    encoded: EncodedFrame
    detections: Detections
    server: ServerTiming
    end_to_end_ms: float
    late: bool

    def to_record(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return the frame's line of detections.jsonl. Boxes are xyxy in pixels of the frame."""
        point = self.encoded.point
        return {
            "frame_id": self.frame.frame_id,
            "capture_time_s": round(self.frame.capture_time, 6),
            "position_s": round(self.frame.position_s, 4),
            "mode": point.mode.value,
            "codec": point.codec.value,
            "width": point.width,
            "quality": point.quality,
            "bytes": len(self.encoded.payload),
            "encode_ms": round(self.encoded.encode_ms, 3),
            "end_to_end_ms": round(self.end_to_end_ms, 3),
            "late": self.late,
            "server": {
                "wait_ms": round(self.server.wait_ms, 3),
                "decode_ms": round(self.server.decode_ms, 3),
                "infer_ms": round(self.server.infer_ms, 3),
            },
            "detections": _detection_records(self.detections, class_names),
        }


def label_name(label: int, class_names: Sequence[str]) -> str:
    """Return the name of a class, or its number when the server knows more classes than the bundle."""
    return class_names[label] if 0 <= label < len(class_names) else str(label)


def _detection_records(detections: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "label": label_name(int(label), class_names),
            "score": round(float(score), 4),
            "box": [round(float(side), 1) for side in box],
        }
        for box, score, label in zip(detections.boxes, detections.scores, detections.labels, strict=True)
    ]
