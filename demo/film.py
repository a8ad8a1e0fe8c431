"""The demo's own source: a folder of frames, cut out of real photographs by a moving viewport."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from benchmarks.harness.images import Image
from demo.viewport import viewport_at

FRAME_SIZE = (640, 480)  # width, height of what the "camera" sees
JPEG_QUALITY = 95  # of the frames on disk: not visible, and a tenth of the bytes of PNG


def write_film(folder: Path, pictures: Sequence[Image], count: int) -> None:
    """Write numbered frames, an equal share of them for each picture."""
    for number, frame in enumerate(film(pictures, count)):
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def film(pictures: Sequence[Image], count: int) -> Iterator[Image]:
    """Yield `count` frames (480, 640, 3), the pictures one after another."""
    aspect = FRAME_SIZE[0] / FRAME_SIZE[1]
    for number in range(count):
        shown, progress = place(number, count, len(pictures))
        height, width = pictures[shown].shape[:2]
        yield viewport_at(progress, (width, height), aspect).cut(pictures[shown], FRAME_SIZE)


def place(number: int, count: int, pictures: int) -> tuple[int, float]:
    """Return which of the pictures a frame shows, and how far the viewport has come over it, in 0..1."""
    position = number * pictures / count
    return int(position), position % 1.0
