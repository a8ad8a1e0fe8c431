"""An image file looked at without decoding it: is it whole, how large, of which kind. Needs the `train` extra."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from splitnet.errors import ImageFileError
from splitnet.image_file import MAX_PIXELS, read_bytes
from splitnet.image_header import image_size

MIN_SIDE = 16  # pixels; smaller images teach nothing
_ROTATED = range(5, 9)  # EXIF orientations that swap the sides
_ORIENTATION = 274  # EXIF tag
# What the training converts on its own, by Pillow's mode; anything else is plain colour.
_KINDS = {"1": "grey", "L": "grey", "LA": "grey", "CMYK": "CMYK", "YCCK": "CMYK", "F": "32-bit", "I": "32-bit"}


class UnfitImageError(Exception):
    """An image that cannot be trained on; the message says why. Never leaves `training.data`."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: sides in pixels as OpenCV will return them, and "grey", "CMYK", ... or ""."""

    width: int
    height: int
    kind: str


def image_header(path: Path) -> Header:
    """Return what an image file says of itself; UnfitImageError if it is of no use."""
    if not path.is_file():
        raise UnfitImageError("image is missing")
    try:
        data = read_bytes(path)
        width, height = image_size(data)
    except ImageFileError as error:
        raise UnfitImageError(f"image is unreadable ({error})") from error
    if width * height > MAX_PIXELS:
        raise UnfitImageError(f"image has over {MAX_PIXELS // 1_000_000} million pixels")
    if min(width, height) < MIN_SIDE:
        raise UnfitImageError(f"image is under {MIN_SIDE} pixels a side")
    mode, is_rotated = _mode_and_rotation(data)
    kind = "16-bit" if "16" in mode else _KINDS.get(mode, "")
    return Header(height, width, kind) if is_rotated else Header(width, height, kind)


def _mode_and_rotation(data: bytes) -> tuple[str, bool]:
    """Return Pillow's mode of an image, which it does not decode, and whether OpenCV will swap its sides."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked already, and of odd metadata
            with Image.open(io.BytesIO(data)) as image:
                return image.mode, image.getexif().get(_ORIENTATION, 1) in _ROTATED
    except Exception as error:  # the many readers raise many kinds
        raise UnfitImageError("image is unreadable") from error
