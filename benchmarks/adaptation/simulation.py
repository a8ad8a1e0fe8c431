"""A run in virtual time: a trace-driven link, a device with slowdown and load, a server with a service time.

The policy under test is the product's own object, asked and told through the same methods as by
`edge_client.pipeline`: newest frame wins, two frames in flight, one in the encoder. The uplink is a queue
without end in front of the trace's delivery opportunities, which is what sender-side buffering makes of it.
What chance decides is drawn once for every frame of the source, so that every policy meets the same luck.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from benchmarks.harness.traces import Trace
from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.policy import MAX_IN_FLIGHT, Decision, FrameContext, Policy
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import Mode, OperatingPoint

SERVER_CLOCK_S = 987_654.321  # ahead of the device's


class Frames(Protocol):
    """What the source shows: positions count its frames from 0."""

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        """Return the size of a frame at an operating point."""


@dataclass(frozen=True)
class Device:
    """How long the device takes, in milliseconds of an idle device, times slowdown and load."""

    encode_ms: Callable[[OperatingPoint], float]
    local_ms: float
    slowdown: float = 12.0  # a Raspberry Pi 4 against the machine that measured
    load: Sequence[tuple[float, float]] = ((0.0, 1.0),)  # (from second, factor)

    def factor(self, now: float) -> float:
        """Return slowdown times the load of the moment."""
        return self.slowdown * [factor for start, factor in self.load if start <= now][-1]


@dataclass(frozen=True)
class World:
    """All that a policy cannot change."""

    trace: Trace
    frames: Frames
    device: Device
    deadline_ms: float
    seconds: float
    fps: float = 10.0
    rtt_ms: float = 30.0
    server_ms: float = 15.0
    patience_s: float = 0.2  # how long a frame waits for a place before a policy that works offline does without
    seed: int = 0

    @property
    def count(self) -> int:
        """The number of frames captured."""
        return int(self.seconds * self.fps)

    def luck(self) -> Luck:
        """Draw what chance decides: of encode times about 5 %, of the server's a third, of acks half a millisecond."""
        rng = np.random.default_rng(self.seed)
        shape = self.count + 1
        server_ms = self.server_ms * rng.lognormal(0.0, 0.3, shape)
        return Luck(rng.lognormal(0.0, 0.05, shape).tolist(), server_ms.tolist(), rng.exponential(5e-4, shape).tolist())


@dataclass(frozen=True)
class Luck:
    """For every frame of the source, by its id (from 1)."""

    encode: list[float]  # factor
    server_ms: list[float]
    jitter_s: list[float]


class Outcome(str, Enum):
    """What became of a frame of the source."""

    MET = "met"
    LATE = "late"
    SKIPPED = "skipped"
    OVERTAKEN = "overtaken"
    UNFINISHED = "unfinished"  # when the run ended


@dataclass(frozen=True)
class FrameLog:
    """One frame of the source and its way."""

    frame_id: int  # from 1; its position in the source is one less
    capture_time: float
    outcome: Outcome
    decision: Decision | None = None
    chosen_at: float = 0.0
    payload_bytes: int = 0
    total_ms: float | None = None

    @property
    def point(self) -> OperatingPoint | None:
        """Its operating point, None if it was overtaken."""
        return None if self.decision is None else self.decision.point


@dataclass
class _Way:
    """A frame between choice and answer."""

    frame_id: int
    capture_time: float
    decision: Decision
    chosen_at: float
    payload_bytes: int = 0


class Simulation:
    """Runs one policy through one world, once."""

    def __init__(self, world: World, policy: Policy) -> None:
        self.world = world
        self.now = 0.0
        self.logs: dict[int, FrameLog] = {}
        self.link_free = 0.0  # when the uplink has delivered all that was sent
        self.luck = world.luck()
        self._policy = policy
        self._events: list[tuple[float, int, Callable[[], None]]] = []  # time, the order of scheduling, what to do
        self._scheduled = 0
        self._waiting: tuple[int, float] | None = None  # the mailbox: frame id, capture time
        self._free_places = MAX_IN_FLIGHT
        self._encoding = False
        self._silent = False
        self._patience_from: float | None = None
        self._local_pending = 0

    def run(self) -> list[FrameLog]:
        """Return the fate of every frame of the source, in order."""
        self._policy.link_up(0.0)
        for frame_id in range(1, self.world.count + 1):
            self._at((frame_id - 1) / self.world.fps, lambda i=frame_id: self._capture(i))  # type: ignore[misc]
        end = self.world.seconds + self.world.deadline_ms / 1000
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        unfinished = [
            FrameLog(i, (i - 1) / self.world.fps, Outcome.UNFINISHED)
            for i in range(1, self.world.count + 1)
            if i not in self.logs
        ]
        return sorted([*self.logs.values(), *unfinished], key=lambda log: log.frame_id)

    def _at(self, time: float, action: Callable[[], None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._events, (time, self._scheduled, action))

    # The device.

    def _capture(self, frame_id: int) -> None:
        if self._waiting is not None:
            self._log(*self._waiting, Outcome.OVERTAKEN)
        self._waiting = frame_id, self.now
        self._take()

    def _take(self) -> None:
        """Do what `Mailbox.take` does: wait for a place, or go without one after some patience."""
        if self._encoding or self._waiting is None:
            return
        placed = self._free_places > 0
        if not placed and not self._impatient():
            return
        (frame_id, capture_time), self._waiting, self._patience_from = self._waiting, None, None
        self._free_places -= placed
        self._silent = not placed
        in_flight = MAX_IN_FLIGHT - self._free_places + (not placed)
        context = FrameContext(frame_id, capture_time, self.world.deadline_ms, in_flight, placed, self._local_pending)
        way = _Way(frame_id, capture_time, self._policy.choose(self.now, context), self.now)
        self._start(way, placed)

    def _impatient(self) -> bool:
        if not self._policy.works_offline or self._silent:
            return self._silent
        if self._patience_from is None:
            self._patience_from = self.now
            self._at(self.now + self.world.patience_s, self._take)
        return self.now >= self._patience_from + self.world.patience_s

    def _start(self, way: _Way, placed: bool) -> None:
        mode = way.decision.point.mode
        if placed and not way.decision.point.is_sent:
            self._free_places += 1
        if mode is Mode.LOCAL and not self._local_pending:
            self._local_pending = 1
            duration_s = self._cost_s(self.world.device.local_ms, way.frame_id)
            self._at(self.now + duration_s, lambda: self._detected(way, duration_s))
        elif way.decision.point.is_sent:
            assert placed, "a policy must not send without a place"
            self._encoding = True
            duration_s = self._cost_s(self.world.device.encode_ms(way.decision.point), way.frame_id)
            self._at(self.now + duration_s, lambda: self._encoded(way, duration_s))
            return
        else:
            self._finish(way, Outcome.SKIPPED)
        self._take()

    def _cost_s(self, nominal_ms: float, frame_id: int) -> float:
        return nominal_ms / 1000 * self.world.device.factor(self.now) * self.luck.encode[frame_id]

    def _detected(self, way: _Way, duration_s: float) -> None:
        self._local_pending = 0
        self._policy.detected_locally(self.now, way.frame_id, duration_s * 1000)
        self._finish(way)

    def _encoded(self, way: _Way, duration_s: float) -> None:
        point = way.decision.point
        way.payload_bytes = self.world.frames.payload_bytes(way.frame_id - 1, point)
        self._policy.encoded(self.now, way.frame_id, point, duration_s * 1000, way.payload_bytes)
        self._policy.sent(self.now, way.frame_id, way.payload_bytes)
        self._transmit(way)
        self._encoding = False
        self._take()

    # The link and the server.

    def _transmit(self, way: _Way) -> None:
        wire_bytes = way.payload_bytes + MESSAGE_OVERHEAD_BYTES
        self.link_free = self.world.trace.finish_time(max(self.now, self.link_free), wire_bytes)
        half_s = self.world.rtt_ms / 2000
        received = self.link_free + half_s
        ack = Ack(way.frame_id, way.payload_bytes, round((received + SERVER_CLOCK_S) * 1e6), 1)
        jitter_s, server_ms = self.luck.jitter_s[way.frame_id], self.luck.server_ms[way.frame_id]
        self._at(received + half_s + jitter_s, lambda: self._policy.acked(self.now, ack))
        self._at(received + half_s + jitter_s + server_ms / 1000, lambda: self._answered(way, server_ms))

    def _answered(self, way: _Way, server_ms: float) -> None:
        self._policy.answered(self.now, way.frame_id, ServerTiming(0.1 * server_ms, 0.2 * server_ms, 0.7 * server_ms))
        self._free_places += 1
        self._silent = False
        self._finish(way)
        self._take()

    def _finish(self, way: _Way, outcome: Outcome | None = None) -> None:
        total_ms = None if outcome else (self.now - way.capture_time) * 1000
        if total_ms is not None:
            outcome = Outcome.LATE if 0 < self.world.deadline_ms < total_ms else Outcome.MET
        assert outcome is not None
        self.logs[way.frame_id] = FrameLog(
            way.frame_id, way.capture_time, outcome, way.decision, way.chosen_at, way.payload_bytes, total_ms
        )

    def _log(self, frame_id: int, capture_time: float, outcome: Outcome) -> None:
        self.logs[frame_id] = FrameLog(frame_id, capture_time, outcome)


def simulate(world: World, policy: Policy) -> list[FrameLog]:
    """Return the fate of every frame of the source under a policy."""
    return Simulation(world, policy).run()
