"""Zones of an image: polygons in shares of its width and height. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from splitnet.errors import ConfigError

MAX_ZONES, MAX_POINTS = 32, 64
FORM = (
    '"NAME X:Y X:Y X:Y ...", the corners in shares of width and height from 0 to 1, such as "drive 0:0.5 1:0.5 1:1 0:1"'
)

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

_NAME = re.compile(r"(?:(?P<camera>[^\s/]{1,64})/)?(?P<name>[\w-]{1,32})")


@dataclass(frozen=True)
class Zone:
    """A part of the images of one camera, or, without a camera, of all."""

    name: str
    corners: tuple[Point, ...]
    camera: str = ""

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point lies inside: a ray from it crosses the border an odd number of times."""
        inside = False
        for (x1, y1), (x2, y2) in zip(self.corners, (*self.corners[1:], self.corners[0]), strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (x2 - x1) * (y - y1) / (y2 - y1):
                inside = not inside
        return inside


def parse_zone(text: str) -> Zone:
    """Return the zone that a setting describes. Raises ConfigError."""
    first, *points = text.split()[: MAX_POINTS + 2] or [""]
    named = _NAME.fullmatch(first)
    corners = tuple(_corner(point) for point in points)
    if named is None or not 3 <= len(corners) <= MAX_POINTS or None in corners:
        raise ConfigError(f"a zone is {FORM}; {MAX_POINTS} corners at most")
    return Zone(named["name"], tuple(corner for corner in corners if corner is not None), named["camera"] or "")


def _corner(text: str) -> Point | None:
    x, _, y = text.partition(":")
    try:
        corner = float(x), float(y)
    except ValueError:
        return None
    return corner if all(math.isfinite(side) and 0 <= side <= 1 for side in corner) else None


def zones_of(box: Box, width: int, height: int, zones: Sequence[Zone]) -> tuple[str, ...]:
    """Return the zones in which an object stands: those that hold the middle of its box's lower side, in pixels."""
    left, _, right, bottom = box
    x, y = (left + right) / 2 / width, min(bottom / height, 1 - 1e-9)  # a box at the border stands in the image
    return tuple(zone.name for zone in zones if zone.holds(x, y))
