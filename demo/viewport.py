"""A window that wanders over a photograph, as a camera would: pans from side to side, zooms in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.harness.images import Image

CLOSEST = 0.75  # side of the smallest viewport, where the largest that fits is 1
LOWEST = 0.3  # of the way down that there is room for; heads are at the top


@dataclass(frozen=True)
class Viewport:
    """A rectangle in pixels of a photograph, which need not fall on whole ones."""

    left: float
    top: float
    width: float
    height: float

    def cut(self, picture: Image, size: tuple[int, int]) -> Image:
        """Return what the viewport shows of a picture (H, W, 3), scaled to size (width, height)."""
        x, y = size[0] / self.width, size[1] / self.height
        # Pixel centres lie half a pixel inside, before and after scaling.
        shift_x, shift_y = -(self.left - 0.5) * x - 0.5, -(self.top - 0.5) * y - 0.5
        matrix = np.array([[x, 0, shift_x], [0, y, shift_y]])
        shown = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(shown, np.uint8)


def viewport_at(progress: float, picture_size: tuple[int, int], aspect: float) -> Viewport:
    """Return where the viewport of an aspect ratio is on a picture of (width, height), progress in 0..1.

    It moves from left to right, a little down and up again, closest halfway, and never jumps.
    """
    width = min(picture_size[0], picture_size[1] * aspect) * (1 - (1 - CLOSEST) * _there_and_back(progress))
    height = width / aspect
    across, down = (1 - math.cos(math.pi * progress)) / 2, LOWEST * _there_and_back(progress)
    return Viewport((picture_size[0] - width) * across, (picture_size[1] - height) * down, width, height)


def _there_and_back(progress: float) -> float:
    """Return 0 at both ends and 1 halfway, smoothly."""
    return (1 - math.cos(2 * math.pi * progress)) / 2
