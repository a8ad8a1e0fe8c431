"""Read labelled images from a COCO annotation file, and check everything in it before a training relies on it.

What can be mended is mended, what cannot is left out, and both are counted with file and entry (`DataProblems`).
What would make every label wrong - categories that are not clear - is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from splitnet.errors import ConfigError
from training.data.coco_objects import Gathered, Labels, ObjectReader, is_id
from training.data.data_problems import DataProblems
from training.data.image_check import Header, UnfitImageError, image_header

MAX_FILE_BYTES = 1_000_000_000  # twice that of COCO's own; parsed it takes about ten times as much memory
MAX_CLASSES = 10_000

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


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """What a training learns from."""

    class_names: tuple[str, ...]  # in order of the categories' ids
    images: tuple[LabelledImage, ...]  # in the order of the file; some may have no object
    problems: DataProblems

    @property
    def objects(self) -> int:
        """Number of objects in all images."""
        return sum(len(image.labels) for image in self.images)


def read_coco(annotations: Path, images: Path) -> LabelledImages:
    """Return the checked images of an annotation file; images: the folder that its file names start from.

    ConfigError if it is no such file, its categories or image ids are ambiguous, or nothing in it can be used.
    """
    content = read_json(annotations)
    labels = _labels(content, annotations)
    if not images.is_dir():
        raise ConfigError(f"{images} is not a folder of images")
    problems = DataProblems()
    gathered = _images(content, annotations, images, problems)
    stated = {entry["id"] for entry in content["images"] if isinstance(entry, dict) and is_id(entry.get("id"))}
    reader = ObjectReader(annotations, labels, gathered, stated - gathered.keys(), problems)
    for index, entry in enumerate(content["annotations"]):
        reader.read(index, entry)
    result = LabelledImages(tuple(labels.names), tuple(_finished(g) for g in gathered.values()), problems)
    if not result.objects:
        reasons = "; ".join(problems.summary())
        raise ConfigError(f"{annotations} has no object that can be trained on{f' ({reasons})' if reasons else ''}")
    _note_empty_classes(result, annotations)
    return result


def read_json(path: Path) -> dict[str, Any]:
    """Return a COCO file's content with its three lists there; ConfigError on anything else, too large a file too."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} has {size / 1e9:.1f} GB, over {MAX_FILE_BYTES / 1e9:.0f}: split it up")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a COCO annotation file: {error!r}") from error
    for name in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise ConfigError(f"{path} is not a COCO annotation file: it has no list {name!r}")
    return content  # type: ignore[no-any-return]


def _labels(content: Mapping[str, Any], path: Path) -> Labels:
    """Return what the categories mean. ConfigError unless each has one id and one name."""
    names: dict[int, str] = {}
    for index, category in enumerate(content["categories"]):
        where = f"{path}: category {index}"
        if not isinstance(category, dict) or not is_id(category.get("id")) or not category.get("name"):
            raise ConfigError(f"{where} has no whole-number id and name")
        name = str(category["name"])
        if category["id"] in names:
            raise ConfigError(
                f"{where} ({name}) has the id {category['id']} of {names[category['id']]}; give it its own"
            )
        if name in names.values():
            raise ConfigError(f"{where} has the name {name!r} of another one; merge the two")
        names[category["id"]] = name
    if not 0 < len(names) <= MAX_CLASSES:
        raise ConfigError(f"{path} has {len(names)} categories; 1 to {MAX_CLASSES} can be trained")
    ids = sorted(names)
    return Labels([names[i] for i in ids], {category: label for label, category in enumerate(ids)})


def _images(content: Mapping[str, Any], path: Path, folder: Path, problems: DataProblems) -> dict[int, Gathered]:
    gathered: dict[int, Gathered] = {}
    names: dict[int, str] = {}
    for index, entry in enumerate(tqdm(content["images"], unit="image", desc=f"checking {path.name}", leave=False)):
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
        try:
            gathered[image_id] = Gathered(folder / name, _checked_header(folder / name, entry, problems))
        except UnfitImageError as error:
            problems.add(f"{error}, left out", f"{path} image id {image_id} ({folder / name})")
    return gathered


def _identity(entry: Any) -> tuple[int | None, str]:
    if isinstance(entry, dict) and is_id(entry.get("id")) and isinstance(entry.get("file_name"), str):
        return entry["id"], entry["file_name"]
    return None, ""


def _is_inside(name: str) -> bool:
    """Say whether a file name stays below the folder of images."""
    pure = PurePosixPath(name.replace("\\", "/"))
    return bool(name) and not pure.is_absolute() and ".." not in pure.parts


def _checked_header(path: Path, entry: Mapping[str, Any], problems: DataProblems) -> Header:
    header = image_header(path)
    stated = entry.get("width", header.width), entry.get("height", header.height)
    if stated != (header.width, header.height):
        # Its boxes would lie in the wrong place.
        raise UnfitImageError("image has another size than its entry says")
    if header.kind:
        problems.add(f"{header.kind} image, read as 8-bit colour", str(path))
    return header


def _finished(image: Gathered) -> LabelledImage:
    boxes = np.array(image.boxes, np.float32).reshape(-1, 4)
    labels = np.array(image.labels, np.int64)
    return LabelledImage(image.path, image.header.width, image.header.height, boxes, labels)


def _note_empty_classes(result: LabelledImages, path: Path) -> None:
    present = {int(label) for image in result.images for label in image.labels}
    for label, name in enumerate(result.class_names):
        if label not in present:
            result.problems.add("class without an object: it will not be learnt", f"{path} {name}")
