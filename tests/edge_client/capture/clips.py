"""Clips and folders of images for the tests of sources."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from edge_client.capture.source import SourceImage

FPS = 12.5
SIZE = (64, 48)


def never(seconds: float) -> bool:
    return False


def write_images(folder: Path, count: int) -> None:
    """Write 000.png, 001.png, ... with pixels of these values."""
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}.png"), np.full((8, 8, 3), index, np.uint8))


def write_clip(path: Path, count: int = 6, codec: str = "MJPG", size: tuple[int, int] = SIZE) -> Path:
    """Write a video of grain whose mean rises from frame to frame."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, size)
    for index in range(count):
        level = 20 + 200 * index // count
        writer.write((level + rng.integers(-15, 16, (size[1], size[0], 3))).astype(np.uint8))
    writer.release()
    return path


def shades(images: Iterable[SourceImage]) -> list[int]:
    return [int(shown.image.mean()) for shown in images]
