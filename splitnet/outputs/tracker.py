"""Follows objects from frame to frame by the overlap of their boxes. Bounded. Pure.

A small tracker for reports, not for counting crowds: of all pairs of a known object and a new box of the same class,
the one with the greatest intersection over union goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from splitnet.detections import Detections
from splitnet.outputs.zones import Box

LEAST_OVERLAP = 0.2  # intersection over union of an object's boxes in neighbouring frames
MAX_TRACKS = 100  # of a camera; of more objects, the best are followed


@dataclass(frozen=True)
class Sighting:
    """An object in one frame; its box in pixels."""

    label: str
    score: float
    box: Box


def sightings_of(found: Detections, labels: Sequence[str]) -> list[Sighting]:
    """Return detections as sightings; labels: the name of each one's class."""
    boxes: list[list[float]] = found.boxes.tolist()
    return [
        Sighting(label, float(score), (left, top, right, bottom))
        for label, score, (left, top, right, bottom) in zip(labels, found.scores, boxes, strict=True)
    ]


@dataclass(eq=False)
class Track:
    """An object that is followed. Times in seconds."""

    number: int
    label: str
    box: Box
    score: float
    top_score: float
    first_seen: float
    last_seen: float
    sightings: int = 1

    def see(self, now: float, seen: Sighting) -> None:
        """Learn where it is now."""
        self.box, self.score, self.last_seen = seen.box, seen.score, now
        self.top_score = max(self.top_score, seen.score)
        self.sightings += 1


class Tracker:
    """Follows the objects of one camera."""

    def __init__(self, gone_s: float) -> None:
        """Take after how many seconds an object that is not seen any more is gone."""
        self._gone_s = gone_s
        self._numbers = 0
        self.tracks: list[Track] = []

    def update(self, now: float, sightings: Sequence[Sighting]) -> None:
        """Take what one frame shows."""
        best = sorted(sightings, key=lambda one: -one.score)[:MAX_TRACKS]
        pairs = sorted(
            (
                (overlap, index, track)
                for track in self.tracks
                for index, seen in enumerate(best)
                if seen.label == track.label and (overlap := intersection_over_union(track.box, seen.box)) > 0
            ),
            key=lambda pair: (-pair[0], pair[1], pair[2].number),
        )
        found: dict[int, Track] = {}
        for overlap, index, track in pairs:
            if overlap >= LEAST_OVERLAP and index not in found and track not in found.values():
                found[index] = track
                track.see(now, best[index])
        for index, seen in enumerate(best):
            if index not in found and len(self.tracks) < MAX_TRACKS:
                self._begin(now, seen)

    def gone(self, now: float) -> list[Track]:
        """Return the objects that have been gone for long enough, and forget them; also those of a clock set back."""
        gone = [track for track in self.tracks if abs(now - track.last_seen) >= self._gone_s]
        self.tracks = [track for track in self.tracks if track not in gone]
        return gone

    def _begin(self, now: float, seen: Sighting) -> None:
        self._numbers += 1
        self.tracks.append(Track(self._numbers, seen.label, seen.box, seen.score, seen.score, now, now))


def intersection_over_union(one: Box, other: Box) -> float:
    """Return how much two boxes have in common, 0..1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (area_of(one) + area_of(other) - common)


def area_of(box: Box) -> float:
    """Return the area of a box in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])
