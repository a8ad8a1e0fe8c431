"""What a user puts into Frigate's own settings to use the endpoint. Pure."""

from __future__ import annotations

from collections.abc import Sequence

# Frigate's image has this file: the 80 classes of COCO in their usual order, bus and truck called car.
COCO_LABEL_MAP = "/labelmap/coco-80.txt"
COCO_CLASSES, COCO_FIRST, COCO_LAST = 80, "person", "toothbrush"


def frigate_settings(
    endpoint: str, class_names: Sequence[str], input_size: int, pixel_format: str, timeout_ms: float
) -> str:
    """Return the YAML of a detector and its model."""
    lines = [
        "detectors:",
        "  slimsplit:",
        "    type: zmq",
        f"    endpoint: {endpoint}",
        f"    request_timeout_ms: {timeout_ms:g}",
        "model:",
        "  path: slimsplit  # a name is wanted; nothing is read",
        f"  width: {input_size}",
        f"  height: {input_size}",
        "  input_tensor: nhwc",
        f"  input_pixel_format: {pixel_format}",
        "  input_dtype: int",
        *_labels(class_names),
    ]
    return "\n".join(lines)


def _labels(class_names: Sequence[str]) -> list[str]:
    if is_coco(class_names):
        return [f"  labelmap_path: {COCO_LABEL_MAP}"]
    return ["  labelmap:", *(f"    {index}: {_quoted(name)}" for index, name in enumerate(class_names))]


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def is_coco(class_names: Sequence[str]) -> bool:
    """Return whether these are the 80 classes of COCO, for which Frigate has a file."""
    return len(class_names) == COCO_CLASSES and (class_names[0], class_names[-1]) == (COCO_FIRST, COCO_LAST)
