"""The demo's own source: a folder of frames that shows one photograph after another, each for a while."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2

from benchmarks.harness.images import Image, filling

FRAME_SIZE = (640, 480)  # width, height
JPEG_QUALITY = 95  # of the frames on disk


def write_stills(folder: Path, photographs: Mapping[str, Image], count: int) -> None:
    """Write so many numbered frames, an equal share of them for each photograph."""
    names = list(photographs)
    files = {name: _file(image) for name, image in photographs.items()}
    for number in range(count):
        name = names[number * len(names) // count]
        (folder / f"{number:05d}-{name}.jpg").write_bytes(files[name])


def _file(photograph: Image) -> bytes:
    quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    return cv2.imencode(".jpg", filling(photograph, FRAME_SIZE), quality)[1].tobytes()
