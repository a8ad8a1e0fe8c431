"""Turn folders of Pascal VOC XML or of YOLO text labels into COCO annotation files.

VOC: one XML for each image (Everingham et al., IJCV 2010), boxes as the corners' pixels, counted from 1.
YOLO: one text for each image, a line "class x y width height" for each object, centre and size as shares of the
image. What is wrong with single entries is left to `training.data.coco`, which checks every COCO file alike; only
what cannot be expressed there is left out here, and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from splitnet.errors import ConfigError
from training.data.data_problems import DataProblems
from training.data.image_check import UnfitImageError, image_header
from training.data.images import SUFFIXES

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


def read_voc(labels: Path, images: Path) -> Converted:
    """Return what the XML files below a folder say of the images in another. Classes are in order of their names.

    ConfigError if there are no such files.
    """
    problems, found = DataProblems(), []
    for path in _label_files(labels, ".xml"):
        try:
            root = _parse_xml(path)
            name = root.findtext("filename") or path.stem
            image = _image(path.relative_to(labels).parent / name, images)
            found.append(ConvertedImage(*image, tuple(_voc_objects(root, path, problems))))
        except (UnfitImageError, ElementTree.ParseError, ValueError) as error:
            problems.add(f"{error}, left out" if isinstance(error, UnfitImageError) else "unreadable XML", str(path))
    names = sorted({name for image in found for name, _ in image.objects})
    return _require_objects(Converted(tuple(names), tuple(found), problems), labels)


def read_yolo(labels: Path, images: Path, class_names: Sequence[str]) -> Converted:
    """Return what the text files below a folder say of the images in another, whose classes are numbered from 0.

    An image without a text has no object. ConfigError if there are no such files.
    """
    problems, found = DataProblems(), []
    _label_files(labels, ".txt")
    for path in _images_below(images):
        relative = path.relative_to(images)
        text = labels / relative.with_suffix(".txt")
        try:
            name, width, height = _image(relative, images)
            lines = _read_text(text).splitlines() if text.is_file() else []
            objects = _yolo_objects(lines, text, class_names, (width, height), problems)
            found.append(ConvertedImage(name, width, height, tuple(objects)))
        except (UnfitImageError, ValueError) as error:
            problems.add(f"{error}, left out" if isinstance(error, UnfitImageError) else "unreadable text", str(text))
    return _require_objects(Converted(tuple(class_names), tuple(found), problems), labels)


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
    path.write_text(json.dumps(to_coco(converted, images)) + "\n")


def _label_files(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of labels")
    found = sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file())
    if not found:
        raise ConfigError(f"{folder} has no {suffix} files")
    return found


def _images_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of images")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _image(relative: Path, images: Path) -> tuple[str, int, int]:
    """Return an image's name and sides; a label file may leave its suffix out."""
    candidates = [relative, *(relative.with_name(relative.name + suffix) for suffix in sorted(SUFFIXES))]
    found = next((c for c in candidates if ".." not in c.parts and (images / c).is_file()), relative)
    if found.is_absolute() or ".." in found.parts:
        raise UnfitImageError("image outside the folder")
    header = image_header(images / found)
    return found.as_posix(), header.width, header.height


def _read_text(path: Path) -> str:
    if path.stat().st_size > MAX_LABEL_BYTES:
        raise ValueError(f"over {MAX_LABEL_BYTES} bytes")
    return path.read_text()


def _parse_xml(path: Path) -> ElementTree.Element:
    text = _read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can make a small file a huge one
        raise ValueError("entities")
    return ElementTree.fromstring(text)


def _voc_objects(root: ElementTree.Element, path: Path, problems: DataProblems) -> Iterator[tuple[str, Box]]:
    for index, entry in enumerate(root.iter("object")):
        name = (entry.findtext("name") or "").strip()
        sides = [_number(entry.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
        if not name or not all(map(math.isfinite, sides)):
            problems.add("object without name and box, left out", f"{path} object {index}")
            continue
        left, top, right, bottom = sides
        # Both corners are pixels that belong to the object, the first pixel being 1.
        yield name, (left - 1, top - 1, right - left + 1, bottom - top + 1)


def _yolo_objects(
    lines: Sequence[str], path: Path, class_names: Sequence[str], size: tuple[int, int], problems: DataProblems
) -> Iterator[tuple[str, Box]]:
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path} line {number}"
        values = [_number(word) for word in words[1:]]
        if len(values) != 4 or not all(map(math.isfinite, values)):
            problems.add("line that is not a class and four numbers, left out", where)
        elif not words[0].isdecimal() or int(words[0]) >= len(class_names):
            problems.add("unknown class number, left out", where)
        else:
            x, y, width, height = (v * size[i % 2] for i, v in enumerate(values))
            yield class_names[int(words[0])], (x - width / 2, y - height / 2, width, height)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _require_objects(converted: Converted, labels: Path) -> Converted:
    if not any(image.objects for image in converted.images):
        reasons = "; ".join(converted.problems.summary())
        raise ConfigError(f"{labels} names no object in a readable image{f' ({reasons})' if reasons else ''}")
    return converted
