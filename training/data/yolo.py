"""Folders of YOLO text: one file for each image, a line "class x y width height" for each object.

Classes are numbered from 0; x and y are the box's centre, all four are shares of the image. A line with more corners
than that is a polygon, and counts as the box around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from training.data.data_problems import DataProblems
from training.data.folders import read_text
from training.data.image_check import UnfitImageError
from training.data.label_folders import (
    MAX_LABEL_BYTES,
    Box,
    Converted,
    ConvertedImage,
    ImageFolder,
    label_files,
    number,
    require_objects,
)

MIN_POLYGON = 6  # numbers: three corners


def read_yolo(labels: Path, images: Path, class_names: Sequence[str]) -> Converted:
    """Return what the text files below a folder say of the images in another.

    An image without a text has no object, which is said; but it is left out where texts lack their images, since one
    of them may be its. ConfigError if there are no such files.
    """
    problems, found, unlabelled = DataProblems(), list[ConvertedImage](), list[PurePosixPath]()
    files = label_files(labels, ".txt")
    folder = ImageFolder.of(images, problems)
    lost = [path for key, path in files.items() if key not in folder.names and _holds_objects(path)]
    for path in lost:
        problems.add("label file without an image, left out", str(path))
    for key, names in folder.names.items():
        if key not in files:
            unlabelled += names
            continue
        for name in names:
            try:
                lines = read_text(files[key], MAX_LABEL_BYTES).splitlines()
                size = folder.size(name)
                objects = tuple(_objects(lines, files[key], class_names, size, problems))
                found.append(ConvertedImage(name.as_posix(), *size, objects))
            except UnfitImageError as error:
                problems.add(f"{error}, left out", str(images / name))
            except (ValueError, OSError) as error:
                problems.add(f"unreadable text ({error}), its image left out", str(files[key]))
    found += _background(unlabelled, folder, bool(lost), problems)
    return require_objects(Converted(tuple(class_names), tuple(found), problems), labels)


def _background(
    names: Sequence[PurePosixPath], folder: ImageFolder, is_doubtful: bool, problems: DataProblems
) -> Iterator[ConvertedImage]:
    """Yield images without a label file as such without objects, unless that is doubtful."""
    for name in names:
        where = str(folder.folder / name)
        if is_doubtful:
            problems.add("image without a label file while label files lack their images, left out", where)
            continue
        try:
            yield ConvertedImage(name.as_posix(), *folder.size(name), ())
            problems.add("image without a label file, taken to have no object", where)
        except UnfitImageError as error:
            problems.add(f"{error}, left out", where)


def _holds_objects(path: Path) -> bool:
    """Return whether a text looks like labels: lists of classes and read-me files often lie beside them."""
    try:
        lines = read_text(path, MAX_LABEL_BYTES).splitlines()
    except (ValueError, OSError):
        return True
    return any(len(words := line.split()) >= 5 and all(math.isfinite(number(w)) for w in words) for line in lines)


def _objects(
    lines: Sequence[str], path: Path, class_names: Sequence[str], size: tuple[int, int], problems: DataProblems
) -> Iterator[tuple[str, Box]]:
    for line_number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path} line {line_number}"
        label, *values = map(number, words)
        is_polygon = len(values) >= MIN_POLYGON and len(values) % 2 == 0
        if not (len(values) == 4 or is_polygon) or not all(map(math.isfinite, values)):
            problems.add("line that is not a class and four numbers, left out", where)
        elif not (label.is_integer() and 0 <= label < len(class_names)):
            problems.add("unknown class number, left out", where)
        else:
            if is_polygon:
                problems.add("polygon, taken as the box around it", where)
            yield class_names[int(label)], _box(values, size)


def _box(values: Sequence[float], size: tuple[int, int]) -> Box:
    """Return the box of a line's numbers in pixels; six or more are corners of a polygon."""
    pixels = [value * size[i % 2] for i, value in enumerate(values)]
    if len(pixels) > 4:
        left, top, right, bottom = min(pixels[::2]), min(pixels[1::2]), max(pixels[::2]), max(pixels[1::2])
        return left, top, right - left, bottom - top
    x, y, width, height = pixels
    return x - width / 2, y - height / 2, width, height
