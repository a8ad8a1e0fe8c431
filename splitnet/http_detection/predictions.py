"""The answers of DeepStack and CodeProject.AI, as the programs that ask them read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from splitnet.detections import Detections

USUAL_CONFIDENCE = 0.4  # of DeepStack, where the request gives none


def predictions(found: Detections, class_names: Sequence[str], min_confidence: float) -> list[dict[str, Any]]:
    """Return objects best first; boxes in whole pixels."""
    order = sorted(range(len(found)), key=lambda index: -float(found.scores[index]))
    return [_prediction(index, found, class_names) for index in order if float(found.scores[index]) >= min_confidence]


def _prediction(index: int, found: Detections, class_names: Sequence[str]) -> dict[str, Any]:
    label = int(found.labels[index])
    left, top, right, bottom = (round(float(side)) for side in found.boxes[index])
    return {
        "label": class_names[label] if 0 <= label < len(class_names) else str(label),
        "confidence": round(float(found.scores[index]), 4),
        "x_min": left,
        "y_min": top,
        "x_max": right,
        "y_max": bottom,
    }


def success(found: Sequence[dict[str, Any]], took_ms: float, by: str) -> dict[str, Any]:
    """Return the answer to an image. by: who has looked at it."""
    return {
        "success": True,
        "predictions": list(found),
        "count": len(found),
        "message": f"found {', '.join(dict.fromkeys(one['label'] for one in found))}" if found else "no objects found",
        "inferenceMs": round(took_ms),
        "processMs": round(took_ms),
        "analysisRoundTripMs": round(took_ms),
        "duration": round(took_ms),
        "moduleName": "SlimSplit",
        "executionProvider": by,
        "code": 200,
    }


def failure(message: str, code: int) -> dict[str, Any]:
    """Return the answer to a request that could not be served."""
    return {"success": False, "predictions": [], "count": 0, "error": message, "message": message, "code": code}
