"""Images to measure with where there are no others. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = (1280, 720)  # width, height


def synthetic_images(number: int) -> list[NDArray[np.uint8]]:
    """Return synthetic images of a camera's usual size, all different: soft shading, hard-edged blocks and grain."""
    width, height = SIZE
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    images: list[NDArray[np.uint8]] = []
    for _ in range(number):
        image = 90 + 60 * np.sin(rows / rng.uniform(60, 200))[..., None] * np.cos(columns / 150)[..., None]
        image = image + rng.standard_normal((height, width, 3), np.float32) * 6
        for _ in range(12):
            top, left = int(rng.integers(0, height - 60)), int(rng.integers(0, width - 60))
            image[top : top + int(rng.integers(20, 200)), left : left + int(rng.integers(20, 200))] = rng.uniform(
                0, 255, 3
            )
        images.append(image.clip(0, 255).astype(np.uint8))
    return images
