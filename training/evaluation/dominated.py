"""Measured operating points that another one beats: nobody would choose them, so a bundle need not list them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from splitnet.manifest import MeasuredPoint
from splitnet.operating_point import Mode, OperatingPoint


def dominated(points: Sequence[MeasuredPoint]) -> dict[MeasuredPoint, MeasuredPoint]:
    """Return the points that another one of their mode beats, in their order, each with the most accurate that does.

    Who beats costs the device no more, takes no more bytes (mean and p90), is at least as accurate, and better in one
    of these; of equals the first one stays. The cost is in multiply-accumulates, of images in encode time. Figures
    are taken as they are, without any tolerance for noise.
    """
    points = list(dict.fromkeys(points))
    best = [one for i, one in enumerate(points) if not any(_beats(points, j, i) for j in range(len(points)))]
    places = {id(one): i for i, one in enumerate(points)}
    found = {}
    for i, one in enumerate(points):
        better = [other for other in best if _beats(points, places[id(other)], i)]
        if better:
            found[one] = max(better, key=lambda other: other.ap)
    return found


def without_dominated(points: Sequence[MeasuredPoint]) -> tuple[MeasuredPoint, ...]:
    """Return the points that no other one beats, in their order."""
    beaten = dominated(points)
    return tuple(point for point in points if point not in beaten)


def rows_of(beaten: Mapping[MeasuredPoint, MeasuredPoint]) -> list[dict[str, str]]:
    """Return names of points and of those that beat them, for people and JSON."""
    return [{"point": name_of(point), "beaten_by": name_of(by)} for point, by in beaten.items()]


def name_of(point: MeasuredPoint) -> str:
    """Return what a point is called in tables: "w4 q2", "jpeg 30"."""
    return str(OperatingPoint(point.codec, point.width, point.quality))


def _beats(points: Sequence[MeasuredPoint], i: int, j: int) -> bool:
    """Return whether the i-th point beats the j-th one."""
    ours, theirs = _costs(points[i]), _costs(points[j])
    no_worse = points[i].mode is points[j].mode and all(a <= b for a, b in zip(ours, theirs, strict=True))
    return no_worse and (ours != theirs or i < j)


def _costs(point: MeasuredPoint) -> tuple[float, ...]:
    """Return what is better the less it is."""
    computation = point.mmacs if point.mode is Mode.SPLIT else point.encode_ms_p50
    return computation, point.bytes_mean, point.bytes_p90, -point.ap
