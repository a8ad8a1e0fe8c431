"""Writes 20 photographs, scikit-image's in several cuts, into a folder: `python -m tests.arm64.images DIR`."""

from __future__ import annotations

import sys
from itertools import cycle, islice
from pathlib import Path

import cv2

from benchmarks.harness.images import frames_from

COUNT = 20


def main(folder: Path) -> None:
    """Write the photographs."""
    for number, image in enumerate(islice(cycle(frames_from(None, COUNT)), COUNT)):
        cv2.imwrite(str(folder / f"{number:02}.jpg"), image[number % 4 * 8 :, number % 5 * 8 :])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
