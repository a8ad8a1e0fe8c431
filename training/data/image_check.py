"""Look at an image file without decoding it: is it whole, how large, of which kind. Needs the `train` extra."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

MAX_PIXELS = 100_000_000
MIN_SIDE = 16  # pixels; smaller images teach nothing
_ROTATED = range(5, 9)  # EXIF orientations that swap the sides
_ORIENTATION = 274  # EXIF tag
# The last bytes of a file in which its end mark must be. Some cameras append padding.
_TAIL_BYTES = 65_536
_END_MARKS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
# What the training converts on its own, by Pillow's mode; anything else is plain colour.
_KINDS = {"1": "grey", "L": "grey", "LA": "grey", "CMYK": "CMYK", "YCCK": "CMYK", "F": "32-bit", "I": "32-bit"}


class UnfitImageError(Exception):
    """An image that cannot be trained on; the message says why. Never leaves `training.data.coco`."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: sides in pixels as OpenCV will return them, and "grey", "CMYK", ... or ""."""

    width: int
    height: int
    kind: str


def image_header(path: Path) -> Header:
    """Return what an image's first and last bytes say; UnfitImageError if it is of no use."""
    from PIL import Image

    if not path.is_file():
        raise UnfitImageError("image is missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that are checked below, and of odd metadata
            with Image.open(path) as image:
                width, height = image.size
                mode, mark = image.mode, _END_MARKS.get(str(image.format), b"")
                if mark not in _tail(path):
                    raise UnfitImageError("image is truncated")
                rotated = image.getexif().get(_ORIENTATION, 1) in _ROTATED
    except UnfitImageError:
        raise
    except Exception as error:  # the many readers raise many kinds
        raise UnfitImageError("image is unreadable") from error
    if width * height > MAX_PIXELS:
        raise UnfitImageError(f"image has over {MAX_PIXELS // 1_000_000} million pixels")
    if min(width, height) < MIN_SIDE:
        raise UnfitImageError(f"image is under {MIN_SIDE} pixels a side")
    kind = "16-bit" if "16" in mode else _KINDS.get(mode, "")
    return Header(height, width, kind) if rotated else Header(width, height, kind)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read()
