"""What is reported of observations: events, counts and status, as messages for whoever listens. Pure but for JSON.

One object for one reporter (a device, or a server with all its cameras). Time comes in as an argument.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitnet.outputs.change_feed import ChangeFeed, Event, FeedSettings, Observation
from splitnet.outputs.discovery import measurements, occupancy
from splitnet.outputs.outbox import Outbox
from splitnet.outputs.topics import Topics

STATUS_S = 10.0  # between two statuses of a camera
MAX_LABELS = 256  # with counts of their own, of a camera

TakesEvents = Callable[[Mapping[str, Any]], None]  # an event as plain values


@dataclass
class _Counted:
    """The frames of a camera since its last status."""

    since: float
    frames: int = 0
    by_server_in_time: int = 0

    def status(self, now: float) -> dict[str, float]:
        """Return frames a second, and the share in percent that the server answered in time."""
        seconds = max(abs(now - self.since), 1e-3)
        quality = 100 * self.by_server_in_time / self.frames if self.frames else 0.0
        return {"fps": round(self.frames / seconds, 1), "link_quality": round(quality)}


class Reports:
    """Puts messages into an outbox, and events to others."""

    def __init__(
        self,
        settings: FeedSettings,
        run: str,
        topics: Topics,
        outbox: Outbox,
        software: str,
        *,
        discovery: str = "",
        has_frames: bool = False,
        others: Sequence[TakesEvents] = (),
    ) -> None:
        """Take what to tell, and where. run: see `ChangeFeed`. discovery: prefix of Home Assistant's topics, if any."""
        self.topics = topics
        self._settings = settings
        self._feed = ChangeFeed(settings, run)
        self._outbox, self._software = outbox, software
        self._discovery, self._has_frames, self._others = discovery, has_frames, others
        self._counted: dict[str, _Counted] = {}
        self._places: dict[str, dict[tuple[str, str], None]] = {}  # zone and label of every count of a camera

    @property
    def cameras(self) -> Sequence[str]:
        """Those that are known."""
        return self._feed.cameras

    def observe(self, seen: Observation) -> None:
        """Report a frame."""
        events = self._feed.observe(seen)
        self._begin(seen)
        counted = self._counted[seen.camera]
        counted.frames += 1
        counted.by_server_in_time += seen.is_in_time and seen.is_by_server
        if self._has_frames:
            self._outbox.event(self.topics.frames(seen.camera), json.dumps(_frame(seen)), qos=0)
        self._report(events)

    def tick(self, now: float) -> None:
        """Report what ends by the passing of time, and each camera's status when its turn has come."""
        self._report(self._feed.tick(now))
        for camera, counted in self._counted.items():
            if abs(now - counted.since) >= STATUS_S:  # the clock may be set back
                self._outbox.state(self.topics.status(camera), json.dumps(counted.status(now)))
                self._counted[camera] = _Counted(now)

    def remembered(self, topic: str, payload: str) -> None:
        """Put right what a broker remembers of an earlier run: a class that nobody has seen in this one is not there.

        A count in a zone that is no more is deleted.
        """
        place = self.topics.place_of(topic)
        if place is not None:
            zones = {"", *(zone.name for zone in self._settings.zones)}
            self._outbox.remembered(topic, payload, "0" if place[0] in zones else "")

    def _begin(self, seen: Observation) -> None:
        if seen.camera in self._counted:
            return
        for gone in self._counted.keys() - set(self._feed.cameras):
            del self._counted[gone], self._places[gone]
        self._counted[seen.camera] = _Counted(seen.time)
        self._places[seen.camera] = {}
        if self._discovery:
            for topic, payload in measurements(self.topics, seen.camera, self._software, self._discovery):
                self._outbox.state(topic, json.dumps(payload))
        zones = ["", *(zone.name for zone in self._settings.zones if zone.camera in ("", seen.camera))]
        for label in sorted(self._settings.classes):
            for zone in zones:
                self._place(seen.camera, zone, label)

    def _place(self, camera: str, zone: str, label: str) -> None:
        """Begin to count, at nothing, and announce that."""
        places = self._places[camera]
        if (zone, label) in places or len(places) >= MAX_LABELS:
            return
        places[zone, label] = None
        if self._discovery:
            topic, payload = occupancy(self.topics, camera, zone, label, self._software, self._discovery)
            self._outbox.state(topic, json.dumps(payload))
        self._outbox.state(self.topics.count(camera, zone, label), "0")

    def _report(self, events: Sequence[Event]) -> None:
        for event in events:
            values = event.to_json()
            self._outbox.event(self.topics.events(event.after.camera), json.dumps(values))
            for other in self._others:
                other(values)
        for camera in dict.fromkeys(event.after.camera for event in events):
            self._count(camera)

    def _count(self, camera: str) -> None:
        counts = self._feed.counts(camera)
        if camera not in self._places:  # forgotten, or not begun: it has no object either
            self._places[camera] = {}
        for zone, label in counts:
            self._place(camera, zone, label)
        for zone, label in self._places[camera]:
            self._outbox.state(self.topics.count(camera, zone, label), str(counts.get((zone, label), 0)))


def _frame(seen: Observation) -> dict[str, Any]:
    return {
        "camera": seen.camera,
        "frame_time": round(seen.time, 3),
        "width": seen.width,
        "height": seen.height,
        "detections": [
            {"label": one.label, "score": round(one.score, 4), "box": [round(side, 1) for side in one.box]}
            for one in seen.sightings
        ],
    }
