"""The messages of Frigate's ZeroMQ detector plug-in, in and out. Pure. Point by point: docs/frigate.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.detections import Detections
from splitnet.errors import ProtocolError
from splitnet.text import printable

ROWS, COLUMNS = 20, 6  # class, score, ymin, xmin, ymax, xmax
MAX_HEADER_BYTES = 4096
MODEL_IS_HERE = {"model_available": True, "model_loaded": True}
MODEL_IS_KEPT = {"model_saved": True, "model_loaded": True}


@dataclass(frozen=True)
class ModelRequest:
    """Is this model there? Or, with its bytes, take it."""

    name: str
    brings_data: bool

    def answer(self) -> list[bytes]:
        """Say yes: the model is the bundle, whatever Frigate calls it."""
        return [json.dumps(MODEL_IS_KEPT if self.brings_data else MODEL_IS_HERE).encode()]


@dataclass(frozen=True)
class DetectRequest:
    """What is in this tensor?"""

    header: dict[str, Any]
    tensor: memoryview | bytes


def parse(parts: Sequence[memoryview | bytes]) -> ModelRequest | DetectRequest:
    """Return what the parts of a message ask. Raises ProtocolError if they follow no form of the protocol."""
    header = _header(parts[0] if parts else b"")
    if header.get("model_request") is True or header.get("model_data") is True:
        return ModelRequest(printable(str(header.get("model_name", "")), 80), header.get("model_data") is True)
    if len(parts) != 2:
        raise ProtocolError(f"a request has two parts, a header and a tensor, not {len(parts)}")
    return DetectRequest(header, parts[1])


def _header(part: memoryview | bytes) -> dict[str, Any]:
    if len(part) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header has at most {MAX_HEADER_BYTES} bytes, not {len(part)}")
    try:
        header = json.loads(bytes(part))
    except (ValueError, RecursionError):
        raise ProtocolError("the header is not JSON") from None
    if not isinstance(header, dict):
        raise ProtocolError("the header is not a JSON object")
    return header


def rows_of(found: Detections, width: int, height: int, min_score: float = 0.0) -> NDArray[np.float32]:
    """Return the best objects as Frigate reads them, (20, 6) float32: the rest of the rows is zero.

    Boxes as shares of the image's width and height in pixels; best first, since Frigate stops at the first row whose
    score is below its threshold.
    """
    kept = found.from_score(min_score)
    order = np.argsort(-kept.scores, kind="stable")[:ROWS]
    sides = np.array([height, width, height, width], np.float32)
    rows = np.zeros((ROWS, COLUMNS), np.float32)
    rows[: len(order), 0] = kept.labels[order]
    rows[: len(order), 1] = kept.scores[order]
    rows[: len(order), 2:] = np.clip(kept.boxes[order][:, [1, 0, 3, 2]] / sides, 0.0, 1.0)
    return rows


def reply(rows: NDArray[np.float32], **more: object) -> list[bytes]:
    """Return the parts of an answer. more: further entries of its header, which the plug-in does not read."""
    header: Mapping[str, object] = {"shape": list(rows.shape), "dtype": "float32", **more}
    return [json.dumps(header).encode(), rows.astype("<f4").tobytes()]


def error_reply(message: str) -> list[bytes]:
    """Return the answer to a request that is wrong: no objects, and why."""
    return reply(np.zeros((ROWS, COLUMNS), np.float32), error=printable(message))
