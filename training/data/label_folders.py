"""The common part of Pascal VOC (`voc`) and YOLO (`yolo`) folders, and the COCO file they become.

What is wrong with single entries is left to `training.data.coco`, which checks every COCO file alike. Only what cannot
be expressed there is left out here, and counted. Whatever does not match is said: no object becomes background unsaid.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError
from training.data.data_problems import DataProblems
from training.data.folders import files_below, is_image, is_other_image
from training.data.image_check import image_header

MAX_LABEL_BYTES = 4_000_000  # of one image's labels

Box = tuple[float, float, float, float]  # x, y, width, height in pixels


@dataclass(frozen=True)
class ConvertedImage:
    """An image and what its label file says."""

    name: str  # below the folder of images
    width: int
    height: int
    objects: tuple[tuple[str, Box], ...]  # class name and box


@dataclass(frozen=True)
class Converted:
    """What was read of a folder."""

    class_names: tuple[str, ...]
    images: tuple[ConvertedImage, ...]
    problems: DataProblems


@dataclass(frozen=True)
class ImageFolder:
    """The images below a folder, by their names without the suffix: what label files are named alike."""

    folder: Path
    names: dict[PurePosixPath, list[PurePosixPath]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, folder: Path, problems: DataProblems) -> ImageFolder:
        """Return the images of a folder; images of kinds that are not read are counted. ConfigError if it is none."""
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder of images")
        found = cls(folder)
        for path in files_below(folder):
            if is_image(path):
                name = PurePosixPath(path.relative_to(folder).as_posix())
                found.names[name.with_suffix("")].append(name)
            elif is_other_image(path):
                problems.add(f"image of a kind that is not read ({path.suffix.lower()}), left out", str(path))
        return found

    def size(self, name: PurePosixPath) -> tuple[int, int]:
        """Return width and height of an image. UnfitImageError if it is of no use."""
        header = image_header(self.folder / name)
        return header.width, header.height


def label_files(folder: Path, suffix: str) -> dict[PurePosixPath, Path]:
    """Return the label files below a folder by their names without the suffix. ConfigError if there are none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of labels")
    found = [path for path in files_below(folder) if path.suffix.lower() == suffix]
    if not found:
        raise ConfigError(f"{folder} has no {suffix} files")
    return {PurePosixPath(path.relative_to(folder).as_posix()).with_suffix(""): path for path in found}


def number(text: str | None) -> float:
    """Return the number that a text is; not a number if it is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def require_objects(converted: Converted, labels: Path) -> Converted:
    """Return what was read. ConfigError, with what was left out, if it has no object."""
    if not any(image.objects for image in converted.images):
        reasons = "; ".join(converted.problems.summary())
        raise ConfigError(f"{labels} names no object in a readable image{f' ({reasons})' if reasons else ''}")
    return converted


def to_coco(converted: Converted, images: Sequence[ConvertedImage]) -> dict[str, Any]:
    """Return some of the images as the content of a COCO annotation file; ids count from 1."""
    category = {name: i + 1 for i, name in enumerate(converted.class_names)}
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        entries.append({"id": image_id, "file_name": image.name, "width": image.width, "height": image.height})
        for name, box in image.objects:
            fields = {"bbox": [round(v, 2) for v in box], "area": round(box[2] * box[3], 2), "iscrowd": 0}
            ids = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category[name]}
            annotations.append({**ids, **fields})
    return {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for name, i in category.items()],
    }


def write_coco(path: Path, converted: Converted, images: Sequence[ConvertedImage]) -> None:
    """Write some of the images as a COCO annotation file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(to_coco(converted, images)) + "\n")
