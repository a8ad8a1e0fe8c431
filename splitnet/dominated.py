"""Operating points that nobody would choose. Pure.

A point is *dominated* if another one is no worse in anything and better in something: in what the device computes, in
bytes (mean and p90) and in accuracy. Of points that are equal in all of these, the first dominates the others. Figures
are taken as they are, without tolerance for noise.

A bundle's points are compared within their mode, since a user may ask for one mode only. What a split point computes is
counted in multiply-accumulates, the same on every device; of images there is no such count, so their encode time is
taken. A device goes on from what is left, with its own times, over all that it may choose from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from splitnet.operating_point import Mode

if TYPE_CHECKING:  # it needs torch, which a program that shows its help can do without
    from splitnet.measured_point import MeasuredPoint

Costs = tuple[float, ...]  # of one point: each the better, the less it is


def dominated(points: Sequence[MeasuredPoint]) -> dict[MeasuredPoint, MeasuredPoint]:
    """Return a bundle's dominated points, in their order, each with one that dominates it and is left.

    Of several that dominate a point it is the most accurate one.
    """
    found: dict[MeasuredPoint, MeasuredPoint] = {}
    for mode in Mode:
        of_mode = [point for point in dict.fromkeys(points) if point.mode is mode]
        dominators = dominators_of([_costs(point) for point in of_mode])
        found |= {of_mode[worse]: of_mode[better] for worse, better in dominators.items()}
    return {point: found[point] for point in dict.fromkeys(points) if point in found}


def without_dominated(points: Sequence[MeasuredPoint]) -> tuple[MeasuredPoint, ...]:
    """Return a bundle's points that no other one dominates, in their order."""
    gone = dominated(points)
    return tuple(point for point in points if point not in gone)


def dominators_of(costs: Sequence[Costs]) -> dict[int, int]:
    """Return the places of dominated costs, each with that of one that dominates it and is not dominated.

    Of several that do, it is the one whose last cost is the least, and of these the first.
    """
    places = range(len(costs))
    left = [i for i in places if not any(_dominates(costs, other, i) for other in places)]
    found = {}
    for i in places:
        better = [other for other in left if _dominates(costs, other, i)]
        if better:
            found[i] = min(better, key=lambda other: costs[other][-1])
    return found


def _dominates(costs: Sequence[Costs], i: int, j: int) -> bool:
    """Return whether the i-th dominates the j-th."""
    ours, theirs = costs[i], costs[j]
    no_worse = all(a <= b for a, b in zip(ours, theirs, strict=True))
    return no_worse and (ours != theirs or i < j)


def _costs(point: MeasuredPoint) -> Costs:
    computation = point.mmacs if point.mode is Mode.SPLIT else point.encode_ms_p50
    return computation, point.bytes_mean, point.bytes_p90, -point.ap
