"""Image files from strangers: read as bytes, bounded by what their header claims, decoded from memory.

The decoder never sees a path (it takes no bytes that are not UTF-8) nor a file whose pixels would not fit.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ImageFileError
from splitnet.image_header import image_size

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
MAX_FILE_BYTES = 1 << 28
MAX_PIXELS = 100_000_000


def images_in(folder: Path) -> list[Path]:
    """Return the files of a folder that are named like images, in natural order. Raises OSError."""
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)


def natural_order(path: Path) -> tuple[list[int | str], str]:
    """Return a sorting key that puts "2.jpg" before "10.jpg"."""
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the image in a file, upright, as BGR (H, W, 3) uint8. Raises ImageFileError, which says why not."""
    return decode_image(read_bytes(path), max_pixels)


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file. Raises ImageFileError if it cannot be read or is too large."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageFileError(f"over {MAX_FILE_BYTES >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        raise ImageFileError(error.strerror or str(error)) from error


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the image in a file's bytes; otherwise as `read_image`."""
    width, height = image_size(data)
    if width * height > max_pixels:
        raise ImageFileError(f"{width}x{height} pixels, over {max_pixels / 1e6:g} million")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageFileError(f"damaged ({error.err})") from None
    if image is None:
        raise ImageFileError("damaged")
    return np.asarray(image, np.uint8)
