"""A few generated images with a COCO annotation file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2

from tests.support.tiny_student import random_images

SIZES = ((96, 128), (128, 96), (60, 60))  # height, width


def annotations(class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return COCO annotations of one object in each image, of the first classes in turn; ids from 1."""
    objects = [
        {"id": i + 1, "image_id": i + 10, "category_id": i + 1, "bbox": [5, 6, 40, 30], "area": 1200, "iscrowd": 0}
        for i in range(len(SIZES))
    ]
    images = [{"id": i + 10, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in enumerate(SIZES)]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(class_names)]
    return {"images": images, "annotations": objects, "categories": categories}


def write_labelled(folder: Path, class_names: tuple[str, ...]) -> Path:
    """Write images and their annotations into a folder; returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (height, width) in enumerate(SIZES):
        assert cv2.imwrite(str(folder / f"{i}.png"), random_images(1, height, width, seed=i)[0])
    path = folder / "annotations.json"
    path.write_text(json.dumps(annotations(class_names)))
    return path
