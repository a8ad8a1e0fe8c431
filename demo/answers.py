"""The client's detections.jsonl, read back and summed up by operating point."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.operating_point import Codec, OperatingPoint


@dataclass(frozen=True)
class Answer:
    """One frame with its detections. Times in milliseconds, position in seconds of the source."""

    position_s: float
    point: str  # "w4 q2", "jpeg 50"
    payload_bytes: int
    encode_ms: float
    end_to_end_ms: float
    compute_ms: float  # on both sides
    names: tuple[str, ...]  # of the objects found, best first

    @property
    def overhead_ms(self) -> float:
        """What was not computation: waiting, threads and the wire."""
        return self.end_to_end_ms - self.compute_ms


def read_answers(path: Path) -> list[Answer]:
    """Return the answers of a file of JSON lines in their order, none if there is no such file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [answer_from_record(json.loads(line)) for line in lines if line.endswith("\n")]


def answer_from_record(record: Mapping[str, Any]) -> Answer:
    """Return the answer that a line of detections.jsonl holds."""
    server = record["server"]
    return Answer(
        position_s=record["position_s"],
        point=str(OperatingPoint(Codec(record["codec"]), record["width"], record["quality"])),
        payload_bytes=record["bytes"],
        encode_ms=record["encode_ms"],
        end_to_end_ms=record["end_to_end_ms"],
        compute_ms=record["encode_ms"] + server["decode_ms"] + server["infer_ms"],
        names=tuple(found["label"] for found in record["detections"]),
    )


def point_rows(answers: Sequence[Answer], points: Iterable[str]) -> list[dict[str, object]]:
    """Return a row for each of the points that has answers: medians, and what was found in how many frames."""
    by_point = {point: [answer for answer in answers if answer.point == point] for point in points}
    return [{"point": point, **_row(found)} for point, found in by_point.items() if found]


def frames_with(answers: Iterable[Answer]) -> Counter[str]:
    """Count, for every kind of object, the frames it was found in."""
    return Counter(name for answer in answers for name in dict.fromkeys(answer.names))


def _row(answers: Sequence[Answer]) -> dict[str, object]:
    return {
        "frames": len(answers),
        "kilobytes_p50": _median(answer.payload_bytes / 1000 for answer in answers),
        "encode_ms_p50": _median(answer.encode_ms for answer in answers),
        "end_to_end_ms_p50": _median(answer.end_to_end_ms for answer in answers),
        "overhead_ms_p50": _median(answer.overhead_ms for answer in answers),
        "found": dict(frames_with(answers).most_common()),
    }


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 2)
