"""What changes before the cameras: objects that come, move and go, as events, and how many are there. Pure.

A message a frame floods people. So an object is told of when it has stayed for a moment (`new`), when it has moved, has
entered or left a zone or has come to rest (`update`), and when it has been gone for a while (`end`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from splitnet.outputs.tracker import Sighting, Track, Tracker, area_of, intersection_over_union
from splitnet.outputs.zones import Box, Zone, zones_of

MAX_CAMERAS = 256  # of more, the one that has been silent for longest is forgotten
MOVED_OVERLAP = 0.6  # with the box last told of: less is a move
UPDATE_S = 1.0  # between two updates for moves of one object
AT_REST_S = 10.0


@dataclass(frozen=True)
class Observation:
    """What one frame of a camera shows. Times in seconds since 1970."""

    camera: str
    time: float
    width: int
    height: int
    sightings: Sequence[Sighting]
    is_in_time: bool = True
    is_by_server: bool = True


@dataclass(frozen=True)
class ObjectState:
    """An object as it is told of. Times in seconds since 1970, the box in pixels."""

    id: str
    camera: str
    label: str
    score: float
    top_score: float
    box: Box
    area: float
    zones: tuple[str, ...]
    entered_zones: tuple[str, ...]
    stationary: bool
    start_time: float
    frame_time: float
    end_time: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, rounded."""
        values = asdict(self)
        values |= {"box": [round(side, 1) for side in self.box], "area": round(self.area)}
        values |= {name: round(values[name], 4) for name in ("score", "top_score")}
        times = {name: values[name] for name in ("start_time", "frame_time", "end_time")}
        return values | {name: None if time is None else round(time, 3) for name, time in times.items()}


@dataclass(frozen=True)
class Event:
    """A change. type: new, update or end. before: as it was last told of, or, if new, as it was first seen."""

    type: str
    before: ObjectState
    after: ObjectState

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"type": self.type, "before": self.before.to_json(), "after": self.after.to_json()}


@dataclass(frozen=True)
class FeedSettings:
    """When an object is told of."""

    appear_s: float = 0.5  # that it must have stayed
    gone_s: float = 3.0  # that it must have been away
    appear_score: float = 0.5  # that it must have had once
    classes: frozenset[str] = frozenset()  # all, if empty
    zones: tuple[Zone, ...] = ()


@dataclass
class _Camera:
    """The objects of one camera. told: the state of each that was announced, by its track's number."""

    tracker: Tracker
    zones: tuple[Zone, ...]
    first: dict[int, ObjectState] = field(default_factory=dict)
    told: dict[int, ObjectState] = field(default_factory=dict)
    moved_at: dict[int, float] = field(default_factory=dict)


class ChangeFeed:
    """Makes events of observations."""

    def __init__(self, settings: FeedSettings, run: str) -> None:
        """Take what is told of, and what tells the ids of this run from those of others."""
        self._settings = settings
        self._run = run
        self._cameras: OrderedDict[str, _Camera] = OrderedDict()

    @property
    def cameras(self) -> Sequence[str]:
        """Those that are known."""
        return list(self._cameras)

    def observe(self, seen: Observation) -> list[Event]:
        """Take what a frame shows; returns what has changed."""
        events: list[Event] = []
        if seen.camera not in self._cameras and len(self._cameras) >= MAX_CAMERAS:
            events += self._forget(next(iter(self._cameras)), seen.time)
        camera = self._camera(seen.camera)
        wanted = self._settings.classes
        shown = [one for one in seen.sightings if not wanted or one.label in wanted]
        camera.tracker.update(seen.time, shown)
        for track in camera.tracker.tracks:
            if track.last_seen == seen.time:
                events += self._look(camera, track, seen)
        return events + self._end(camera, seen.time)

    def tick(self, now: float) -> list[Event]:
        """Return what has ended by the mere passing of time: cameras may have fallen silent."""
        return [event for camera in self._cameras.values() for event in self._end(camera, now)]

    def counts(self, name: str) -> Mapping[tuple[str, str], int]:
        """Return how many objects of a camera were announced and are still there, by zone ("": all) and label."""
        counts: Counter[tuple[str, str]] = Counter()
        for state in self._cameras[name].told.values() if name in self._cameras else ():
            counts.update((zone, state.label) for zone in ("", *state.zones))
        return counts

    def _camera(self, name: str) -> _Camera:
        if name not in self._cameras:
            zones = tuple(zone for zone in self._settings.zones if zone.camera in ("", name))
            self._cameras[name] = _Camera(Tracker(self._settings.gone_s), zones)
        self._cameras.move_to_end(name)
        return self._cameras[name]

    def _look(self, camera: _Camera, track: Track, seen: Observation) -> list[Event]:
        state = self._state(camera, track, seen)
        first = camera.first.setdefault(track.number, state)
        told = camera.told.get(track.number)
        if told is None:
            return self._tell(camera, track, "new", first, state) if self._is_sure(track) else []
        return self._tell(camera, track, "update", told, state) if self._is_news(camera, track, told, state) else []

    def _is_sure(self, track: Track) -> bool:
        stays = track.sightings >= 2 and track.last_seen - track.first_seen >= self._settings.appear_s
        return stays and track.top_score >= self._settings.appear_score

    def _is_news(self, camera: _Camera, track: Track, told: ObjectState, state: ObjectState) -> bool:
        if (state.zones, state.stationary) != (told.zones, told.stationary):
            return True
        return _has_moved(told, state) and state.frame_time - camera.moved_at[track.number] >= UPDATE_S

    def _tell(self, camera: _Camera, track: Track, type: str, before: ObjectState, after: ObjectState) -> list[Event]:
        if type == "new" or _has_moved(before, after):
            camera.moved_at[track.number] = after.frame_time
        camera.told[track.number] = after
        return [Event(type, before, after)]

    def _state(self, camera: _Camera, track: Track, seen: Observation) -> ObjectState:
        zones = zones_of(track.box, seen.width, seen.height, camera.zones)
        told = camera.told.get(track.number) or camera.first.get(track.number)
        entered = () if told is None else told.entered_zones
        still_since = camera.moved_at.get(track.number)
        rests = still_since is not None and seen.time - still_since >= AT_REST_S
        state = ObjectState(
            id=f"{self._run}-{track.number}",
            camera=seen.camera,
            label=track.label,
            score=track.score,
            top_score=track.top_score,
            box=track.box,
            area=area_of(track.box),
            zones=zones,
            entered_zones=(*entered, *(zone for zone in zones if zone not in entered)),
            stationary=rests,
            start_time=track.first_seen,
            frame_time=seen.time,
        )
        return replace(state, stationary=False) if told is not None and _has_moved(told, state) else state

    def _end(self, camera: _Camera, now: float) -> list[Event]:
        return [event for track in camera.tracker.gone(now) for event in self._ended(camera, track)]

    def _ended(self, camera: _Camera, track: Track) -> list[Event]:
        camera.first.pop(track.number, None)
        camera.moved_at.pop(track.number, None)
        told = camera.told.pop(track.number, None)
        return [] if told is None else [Event("end", told, replace(told, end_time=track.last_seen))]

    def _forget(self, name: str, now: float) -> list[Event]:
        camera = self._cameras.pop(name)
        return [event for track in camera.tracker.tracks for event in self._ended(camera, track)]


def _has_moved(before: ObjectState, after: ObjectState) -> bool:
    return intersection_over_union(before.box, after.box) < MOVED_OVERLAP
