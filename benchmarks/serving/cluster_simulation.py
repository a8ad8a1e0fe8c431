"""A fleet of cameras, one front daemon and many replicas, on a virtual clock: how many cameras they carry. Pure.

The batcher is the daemon's own. Service times are those that were measured: what the front computes for a frame, what a
batch takes on a replica, what the way there and back adds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from cloud_server.cluster.scaling import PLACES
from cloud_server.scheduling.batcher import Batcher, Request
from splitnet.errors import ShedError

GOLDEN = 0.6180339887498949  # spreads the cameras' phases
IN_TIME = 0.99  # of the frames, for cameras to be carried
MAX_QUEUE, MAX_BATCH = 512, 8
KIND = "split"


@dataclass(frozen=True)
class Costs:
    """Measured constants, seconds."""

    front_s: float  # processor time of the front daemon for a frame, on one core
    fixed_s: float  # of a batch on a replica
    per_frame_s: float
    way_s: float  # there and back


@dataclass(frozen=True)
class Fleet:
    """What is simulated."""

    cameras: int
    replicas: int
    fps: float = 5.0
    deadline_s: float = 0.2
    front_cores: int = 1
    seconds: float = 2.0


def in_time(fleet: Fleet, costs: Costs) -> float:
    """Return the share of frames that are answered by their deadline."""
    return _Run(fleet, costs).share()


def carried(replicas: int, costs: Costs, most: int, **fleet: float) -> int:
    """Return how many cameras replicas carry, by bisection; most: the largest number that is tried."""
    low, high = 0, min(most, _bound(Fleet(0, replicas, **fleet), costs))  # type: ignore[arg-type]
    while high - low > max(1, low // 50):
        middle = (low + high + 1) // 2
        if in_time(Fleet(middle, replicas, **fleet), costs) >= IN_TIME:  # type: ignore[arg-type]
            low = middle
        else:
            high = middle - 1
    return low


def _bound(fleet: Fleet, costs: Costs) -> int:
    """Return more cameras than the front's cores and the replicas can compute for, whatever the order."""
    batch_s = costs.fixed_s + MAX_BATCH * costs.per_frame_s
    frames_per_s = min(fleet.front_cores / costs.front_s, fleet.replicas * MAX_BATCH / batch_s)
    return 1 + int(1.25 * frames_per_s / fleet.fps)


class _Run:
    """One simulation: events in order of time. Frames queue for the front's cores, then for replicas' places."""

    def __init__(self, fleet: Fleet, costs: Costs) -> None:
        self._fleet, self._costs = fleet, costs
        self._batcher: Batcher[Request] = Batcher(MAX_BATCH, MAX_QUEUE)
        for size in (1, MAX_BATCH):
            self._batcher.observe(KIND, size, costs.fixed_s + costs.per_frame_s * size + costs.way_s)
        self._cores = [0.0] * fleet.front_cores  # when each is free
        self._replicas = [0.0] * fleet.replicas
        self._free = fleet.replicas * PLACES
        self._events: list[tuple[float, int, str, object]] = []
        self._order = itertools.count()
        self._good = self._sent = 0

    def share(self) -> float:
        for at, camera in _arrivals(self._fleet):
            self._push(at, "arrives", camera)
        while self._events:
            now, _, what, subject = heapq.heappop(self._events)
            if what == "arrives":
                self._arrive(now, subject)
            elif what == "ready":
                assert isinstance(subject, Request)
                self._batcher.ready(subject, now)
            else:
                self._end(now, subject)
            self._dispatch(now)
        return self._good / self._sent if self._sent else 1.0

    def _push(self, at: float, what: str, subject: object) -> None:
        heapq.heappush(self._events, (at, next(self._order), what, subject))

    def _arrive(self, now: float, camera: object) -> None:
        self._sent += 1
        frame = Request(KIND, now, now + self._fleet.deadline_s, camera)
        try:
            self._batcher.admit(frame)
        except ShedError:
            return
        done = max(now, heapq.heappop(self._cores)) + self._costs.front_s
        heapq.heappush(self._cores, done)
        self._push(done, "ready", frame)

    def _dispatch(self, now: float) -> None:
        while self._free and self._batcher.start_at(now) <= now:
            batch = self._batcher.take(now).requests
            if not batch:
                return
            self._free -= 1
            way = self._costs.way_s / 2
            begin = max(now + way, heapq.heappop(self._replicas))
            end = begin + self._costs.fixed_s + self._costs.per_frame_s * len(batch)
            heapq.heappush(self._replicas, end)
            self._push(end + way, "ends", batch)
        wake_at = self._batcher.start_at(now)
        if self._free and now < wake_at < float("inf"):
            self._push(wake_at, "ends", None)

    def _end(self, now: float, batch: object) -> None:
        if isinstance(batch, list):
            self._free += 1
            self._good += sum(now <= frame.deadline for frame in batch)


def _arrivals(fleet: Fleet) -> Iterator[tuple[float, int]]:
    period = 1 / fleet.fps
    for camera in range(fleet.cameras):
        at = (camera * GOLDEN % 1.0) * period
        while at < fleet.seconds:
            yield at, camera
            at += period
