"""What is labelled in a clip's frames: a COCO file beside the clip, whose images' ids are frame numbers from 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from training.data.coco_file import read_json


def read_labels(clip: Path, class_names: Sequence[str]) -> Mapping[int, Detections] | None:
    """Return the objects of each labelled frame of CLIP.mp4 from CLIP.json; None if there is no such file.

    ConfigError if it is none, or none of its categories is a class of the bundle.
    """
    path = clip.with_suffix(".json")
    if not path.exists():
        return None
    content = read_json(path)
    try:
        places = {name: place for place, name in enumerate(class_names)}
        labels = {one["id"]: places[one["name"]] for one in content["categories"] if one["name"] in places}
        frames: dict[int, list[tuple[list[float], int]]] = {int(one["id"]): [] for one in content["images"]}
        for one in content["annotations"]:
            if one["category_id"] in labels:
                frames[int(one["image_id"])].append((_corners(one["bbox"]), labels[one["category_id"]]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} does not label frames as COCO labels images: {error!r}") from error
    if not any(frames.values()):
        raise ConfigError(f"{path} labels no object of the bundle's classes: mend it, or move it away from the clip")
    return {number: _detections(objects) for number, objects in frames.items()}


def _corners(box: Any) -> list[float]:
    left, top, width, height = map(float, box)
    return [left, top, left + width, top + height]


def _detections(objects: Sequence[tuple[list[float], int]]) -> Detections:
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label in objects], np.int32)
    return Detections(boxes, np.ones(len(objects), np.float32), labels)
