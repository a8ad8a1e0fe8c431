"""Operating points of the demo."""

from __future__ import annotations

from splitnet.manifest import DETECTOR_FILE, Manifest
from splitnet.operating_point import Codec, OperatingPoint

STILL_FRAMES = 150
FPS = 6.0  # two slow cores answer every frame at this pace
ROUNDS = 5  # through all points, one for each photograph, so that every point sees them all
JPEG_QUALITIES = (50, 10)  # a usual one, and one whose bytes come close to the features'


def operating_points(manifest: Manifest) -> list[OperatingPoint]:
    """Return points from the best to the smallest, then images if the bundle can detect in them."""
    widths, best = manifest.widths, manifest.qualities - 1
    wanted = [(widths, best), (widths, best // 2), ((widths + 1) // 2, best // 2), (1, 0)]
    points = [OperatingPoint(Codec.RANS, width, quality) for width, quality in dict.fromkeys(wanted)]
    if DETECTOR_FILE in manifest.files:
        points += [OperatingPoint(Codec.JPEG, 0, quality) for quality in JPEG_QUALITIES]
    return points


def frames_each(frames: int, points: int) -> int:
    """Return how many frames to stay on a point, so that a run of so many goes `ROUNDS` times through all points.

    frames: 0 if nobody knows how many there will be.
    """
    return max(1, (frames or STILL_FRAMES) // (ROUNDS * points))
