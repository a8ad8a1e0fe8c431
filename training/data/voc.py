"""Folders of Pascal VOC XML: one file for each image, boxes as the corners' pixels, counted from 1.

Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

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

_DECLARATION = re.compile(r"\s*<\?xml.*?\?>", re.DOTALL)  # of an encoding that the text no longer has


def read_voc(labels: Path, images: Path) -> Converted:
    """Return what the XML files below a folder say of the images in another. Classes are in order of their names.

    An XML belongs to the image that is named like it; only if there is none to that which it names itself, since
    that name is often of long ago. ConfigError if there are no such files.
    """
    problems, found = DataProblems(), dict[PurePosixPath, ConvertedImage]()
    files = label_files(labels, ".xml")
    folder = ImageFolder.of(images, problems)
    for key, path in files.items():
        try:
            root = parse_xml(path)
            name = _image_of(key, root.findtext("filename") or "", files, folder, path, problems)
            size = folder.size(name)
            found[name] = ConvertedImage(name.as_posix(), *size, tuple(_objects(root, path, problems)))
        except UnfitImageError as error:
            problems.add(f"{error}, left out", str(path))
        except (ElementTree.ParseError, ValueError, OSError) as error:
            problems.add(f"unreadable XML ({_kind_of(error)})", str(path))
    for alike in folder.names.values():
        for name in alike:
            if name not in found and name.with_suffix("") not in files:
                problems.add("image without an XML, left out", str(images / name))
    names = sorted({label for image in found.values() for label, _ in image.objects})
    return require_objects(Converted(tuple(names), tuple(found.values()), problems), labels)


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the root of an XML file in any encoding. ValueError or ParseError if it is none, or has entities."""
    text = read_text(path, MAX_LABEL_BYTES)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can make a small file a huge one
        raise ValueError("entities")
    return ElementTree.fromstring(_DECLARATION.sub("", text, count=1))


def _image_of(
    key: PurePosixPath,
    stated: str,
    files: Mapping[PurePosixPath, Path],
    folder: ImageFolder,
    path: Path,
    problems: DataProblems,
) -> PurePosixPath:
    """Return the image that an XML is about. UnfitImageError if there is none."""
    named = key.parent / stated.replace("\\", "/").strip()
    own = folder.names.get(key)
    if own:
        if stated.strip() and PurePosixPath(named.name).stem not in (key.name, PurePosixPath(key.name).stem):
            problems.add("XML that names another image, taken for that of its own name", str(path))
        return named if named in own else own[0]
    if named.is_absolute() or ".." in named.parts:
        raise UnfitImageError("image outside the folder")
    alike = folder.names.get(named.with_suffix("") if named.suffix else named) or folder.names.get(named)
    if not stated.strip() or not alike:
        raise UnfitImageError("image is missing")
    if alike[0].with_suffix("") in files:
        raise UnfitImageError("XML without an image of its name, that of another XML is named")
    return named if named in alike else alike[0]


def _kind_of(error: Exception) -> str:
    """Return why a file is of no use, without what differs from file to file."""
    if isinstance(error, ElementTree.ParseError):
        return "damaged"
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _objects(root: ElementTree.Element, path: Path, problems: DataProblems) -> Iterator[tuple[str, Box]]:
    for index, entry in enumerate(root.iter("object")):
        name = (entry.findtext("name") or "").strip()
        sides = [number(entry.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
        if not name or not all(map(math.isfinite, sides)):
            problems.add("object without name and box, left out", f"{path} object {index}")
            continue
        left, top, right, bottom = sides
        # Both corners are pixels that belong to the object, the first pixel being 1.
        yield name, (left - 1, top - 1, right - left + 1, bottom - top + 1)
