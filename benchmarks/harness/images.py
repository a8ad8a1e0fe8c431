"""Real images to measure with: those that scikit-image ships, or those of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError, ImageFileError
from splitnet.image_file import images_in, read_image

Image = NDArray[np.uint8]  # (H, W, 3) BGR

LOADERS = {  # name: function of skimage.data; all of these images are inside its wheel
    "astronaut": "astronaut",
    "cat": "chelsea",
    "coffee": "coffee",
    "camera": "camera",
    "motorcycle": "stereo_motorcycle",
}


def frames_from(folder: Path | None, limit: int) -> list[Image]:
    """Return the images of a folder in the order of their names, or without one scikit-image's.

    Raises ConfigError if there are none.
    """
    if folder is None:
        return list(sample_images().values())[:limit]
    readable = _readable(images_in(folder)) if folder.is_dir() else iter(())
    found = list(islice(readable, limit))
    if not found:
        raise ConfigError(f"{folder} holds no images")
    return found


def _readable(paths: Sequence[Path]) -> Iterator[Image]:
    for path in paths:
        with suppress(ImageFileError):
            yield read_image(path)


def sample_images() -> dict[str, Image]:
    """Return photographs out of the scikit-image package itself, by name; nothing is downloaded.

    The detector finds a person, a cat, a cup and a table, a person, and a motorcycle in them. Raises
    ConfigError if scikit-image is missing.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise ConfigError("the images come from scikit-image; install it with the extra [demo]") from error
    try:
        loaded = {name: getattr(data, loader)() for name, loader in LOADERS.items()}
    except (ImportError, OSError) as error:  # a build that left its images out and would download them
        raise ConfigError("this scikit-image lacks its images; install it from PyPI's wheel") from error
    return {name: _bgr(found[0] if isinstance(found, tuple) else found) for name, found in loaded.items()}


def filling(image: Image, size: tuple[int, int]) -> Image:
    """Return the middle of an image, scaled to fill a size (width, height)."""
    scale = max(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    return np.ascontiguousarray(scaled[top : top + size[1], left : left + size[0]], np.uint8)


def _bgr(image: NDArray[np.uint8]) -> Image:
    """Return a grey (H, W) or RGB (H, W, 3) image as BGR."""
    grey = image.ndim == 2
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if grey else cv2.COLOR_RGB2BGR), np.uint8)
