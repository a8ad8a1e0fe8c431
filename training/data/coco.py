"""Labelled images from a COCO annotation file, checked before a training or a measurement relies on them.

What can be mended is mended, what cannot is left out, and both are counted with file and entry (`DataProblems`).
What would make every label wrong - categories that are not clear - is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from splitnet.extras import progress
from training.data.coco_file import is_id, labels_of, read_json
from training.data.coco_objects import Box, Gathered, ObjectReader
from training.data.data_problems import DataProblems
from training.data.image_check import Header, UnfitImageError, image_header

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image and its objects: boxes (n, 4) xyxy in its pixels, labels (n,) indices of class names."""

    path: Path
    width: int
    height: int
    boxes: Floats
    labels: Integers
    image_id: int = 0
    crowd_boxes: Floats = field(default_factory=lambda: _boxes([]))  # (m, 4) regions of many objects
    crowd_labels: Integers = field(default_factory=lambda: np.zeros(0, np.int64))  # (m,)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """What a training learns from, or a measurement is made on."""

    class_names: tuple[str, ...]  # in order of the categories' ids
    images: tuple[LabelledImage, ...]  # in the order of the file; some may have no object
    problems: DataProblems
    missing: Mapping[int, Path] = field(default_factory=dict)  # image files that are not there, by id

    @property
    def objects(self) -> int:
        """Number of objects in all images."""
        return sum(len(image.labels) for image in self.images)


def read_coco(annotations: Path, images: Path, is_evaluated: bool = False) -> LabelledImages:
    """Return the checked images of an annotation file; images: the folder that its file names start from.

    is_evaluated: to be measured on, not trained on. Then crowds are kept, and classes may have no object. ConfigError
    if it is no such file, its categories or image ids are ambiguous, or nothing in it can be used.
    """
    content = read_json(annotations)
    problems = DataProblems()
    labels = labels_of(content, annotations, problems)
    if not images.is_dir():
        raise ConfigError(f"{images} is not a folder of images")
    missing: dict[int, Path] = {}
    gathered = _images(content, annotations, images, problems, missing)
    stated = {entry["id"] for entry in content["images"] if isinstance(entry, dict) and is_id(entry.get("id"))}
    reader = ObjectReader(annotations, labels, gathered, stated - gathered.keys(), problems, is_evaluated)
    for index, entry in enumerate(content["annotations"]):
        reader.read(index, entry)
    found = tuple(_finished(image_id, image) for image_id, image in gathered.items())
    result = LabelledImages(tuple(labels.names), found, problems, missing)
    if not result.objects:
        reasons = "; ".join(problems.summary())
        use = "measured" if is_evaluated else "trained"
        raise ConfigError(f"{annotations} has no object that can be {use} on{f' ({reasons})' if reasons else ''}")
    if not is_evaluated:
        _note_empty_classes(result, annotations)
    return result


def _images(
    content: Mapping[str, Any], path: Path, folder: Path, problems: DataProblems, missing: dict[int, Path]
) -> dict[int, Gathered]:
    """Return the images that are of use, by id; those whose files are not there go to `missing`."""
    gathered: dict[int, Gathered] = {}
    names: dict[int, str] = {}
    for index, entry in enumerate(_progress(content["images"], path)):
        image_id, name = _identity(entry)
        if image_id is None or not _is_inside(name):
            problems.add("image entry without whole-number id and file name in the folder", f"{path} image {index}")
            continue
        if image_id in names:
            if names[image_id] != name:
                both = f"{names[image_id]} and {name}"
                raise ConfigError(f"{path}: image id {image_id} is that of {both}; whose boxes are whose is not clear")
            problems.add("image entry repeated", f"{path} image {index} ({name})")
            continue
        names[image_id] = name
        if not (folder / name).is_file():
            missing[image_id] = folder / name
        try:
            gathered[image_id] = Gathered(folder / name, _checked_header(folder / name, entry, problems))
        except UnfitImageError as error:
            problems.add(f"{error}, left out", f"{path} image id {image_id} ({folder / name})")
    return gathered


def _progress(entries: Sequence[Any], path: Path) -> Iterable[Any]:
    return progress(entries, unit="image", desc=f"checking {path.name}", leave=False, disable=None)


def _identity(entry: Any) -> tuple[int | None, str]:
    if isinstance(entry, dict) and is_id(entry.get("id")) and isinstance(entry.get("file_name"), str):
        return entry["id"], entry["file_name"]
    return None, ""


def _is_inside(name: str) -> bool:
    """Return whether a file name stays below the folder of images."""
    pure = PurePosixPath(name.replace("\\", "/"))
    return bool(name) and not pure.is_absolute() and ".." not in pure.parts


def _checked_header(path: Path, entry: Mapping[str, Any], problems: DataProblems) -> Header:
    header = image_header(path)
    stated = [_number(entry.get(name, own)) for name, own in (("width", header.width), ("height", header.height))]
    if stated != [header.width, header.height]:
        # Its boxes would lie in the wrong place.
        raise UnfitImageError("image has another size than its entry says")
    if header.kind:
        problems.add(f"{header.kind} image, read as 8-bit colour", str(path))
    return header


def _number(value: Any) -> Any:
    """Return a number that was written as a text as one."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _finished(image_id: int, image: Gathered) -> LabelledImage:
    labels, crowd_labels = (np.array(found, np.int64) for found in (image.labels, image.crowd_labels))
    sides = image.header.width, image.header.height
    return LabelledImage(
        image.path, *sides, _boxes(image.boxes), labels, image_id, _boxes(image.crowd_boxes), crowd_labels
    )


def _boxes(corners: Sequence[Box]) -> Floats:
    return np.array(corners, np.float32).reshape(-1, 4)


def _note_empty_classes(result: LabelledImages, path: Path) -> None:
    present = {int(label) for image in result.images for label in image.labels}
    for label, name in enumerate(result.class_names):
        if label not in present:
            result.problems.add("class without an object: it will not be learnt", f"{path} {name}")
