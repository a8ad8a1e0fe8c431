"""Images for training: found in folders, and decoded."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from splitnet import image_file
from splitnet.errors import ConfigError, ImageFileError
from training.data.coco_file import read_json
from training.data.folders import files_below, is_image, is_other_image

COCO_NAME = re.compile(r"(?:COCO_\w+_)?(\d{12})")  # 2014 and 2017, without the suffix
MAX_MISSES = 200  # images of no use, one after the other: then none is
log = logging.getLogger(__name__)

Image = NDArray[np.uint8]


def find_images(folders: Sequence[Path], exclude: Sequence[Path] = ()) -> list[Path]:
    """Return the images below the folders, linked ones too, without those that evaluation annotations name.

    exclude: COCO annotation files. An image is dropped if its file name is that of an excluded one, whatever its folder
    and suffix. One of COCO's is dropped also if it has the number of an excluded one of COCO's, since val2017 lies
    inside val2014. ConfigError if a folder is not there or nothing is left.
    """
    absent = [folder for folder in folders if not folder.is_dir()]
    if absent:
        raise ConfigError(f"{absent[0]} is not a folder of images")
    banned = {key for path in exclude for stem in _excluded_stems(path) for key in _keys(stem)}
    files = [path for folder in folders for path in files_below(folder)]
    found = [path for path in files if is_image(path)]
    kept = [path for path in found if banned.isdisjoint(_keys(path.stem))]
    if not kept:
        names = ", ".join(map(str, folders)) or "no folder at all"
        raise ConfigError(f"no images in {names} ({len(found)} excluded as evaluation images)")
    log.info("%d images, %d excluded", len(kept), len(found) - len(kept))
    others = Counter(path.suffix.lower() for path in files if is_other_image(path))
    for suffix, count in others.items():
        log.warning("%d images are of a kind that is not read (%s)", count, suffix)
    return kept


def _excluded_stems(annotations: Path) -> Iterator[str]:
    for image in read_json(annotations, ["images"])["images"]:
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise ConfigError(f"{annotations} is not a COCO annotation file: an image has no file name")
        yield PurePosixPath(image["file_name"].replace("\\", "/")).stem


def _keys(stem: str) -> set[str | int]:
    """Return what an image is known by: its name, and of COCO's images their number."""
    number = COCO_NAME.fullmatch(stem)
    return {stem, int(number[1])} if number else {stem}


def read_image(path: Path) -> Image | None:
    """Return an image as BGR (H, W, 3) uint8, or None if it is unreadable."""
    try:
        return image_file.read_image(path)
    except ImageFileError:
        return None
