"""A run in virtual time: a trace-driven link, a device with slowdown and load, a server with a service time.

The policy under test is the product's own object, asked and told through the same methods as by
`edge_client.pipeline`: newest frame wins, two frames in flight, one in the encoder. The uplink is a queue
without end in front of the trace's delivery opportunities, which is what sender-side buffering makes of it.
A frame in layers is answered when all of them have come, or when its deadline leaves the server just the time.
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
from edge_client.adaptation.layer_sender import LayerSender, Ready
from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.policy import MAX_IN_FLIGHT, Decision, FrameContext, Policy
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import Mode, OperatingPoint

SERVER_CLOCK_S = 987_654.321  # ahead of the device's
SERVER_BOUND = 1.5  # times its usual time: what a server allows itself when it waits for layers


class Frames(Protocol):
    """What the source shows: positions count its frames from 0."""

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        """Return the size of a frame at an operating point."""

    def layer_bytes(self, position: int, point: OperatingPoint) -> tuple[int, ...]:
        """Return the sizes of a frame's layers, or of the whole where there are none."""


class Camera(Protocol):
    """A source whose frames may build on one another, for one run. Ids count its frames from 1."""

    def encode(self, frame_id: int, point: OperatingPoint) -> tuple[int, bool]:
        """Encode a frame now; returns its size in bytes, and whether it builds on another."""

    def answered(self, frame_id: int) -> None:
        """Learn that the device has the answer to a frame."""


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
    max_layers: int = 0  # that the server takes a frame in

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
    layers: int = 1  # that it was sent in
    layers_used: int = 0  # that the server had; 0: it was whole

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
    payload_bytes: int = 0  # that have been sent
    sizes: tuple[int, ...] = ()  # of its layers, if it has some
    arrived: int = 0  # layers that the server has
    computed: bool = False


class Simulation:
    """Runs one policy through one world, once."""

    def __init__(self, world: World, policy: Policy, camera: Camera | None = None) -> None:
        """Take the world and the policy. camera: of frames that build on one another; none do if not given."""
        self.world = world
        self._camera = camera
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
        self._layers: LayerSender[int] = LayerSender()
        self._ways: dict[int, _Way] = {}  # of frames in layers, by frame id

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
        context = FrameContext(
            frame_id,
            capture_time,
            self.world.deadline_ms,
            in_flight,
            placed,
            self._local_pending,
            self.world.max_layers,
        )
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
        whole, builds = self._size(way)
        sizes = self.world.frames.layer_bytes(way.frame_id - 1, point) if way.decision.layers > 1 else ()
        self._policy.encoded(self.now, way.frame_id, point, duration_s * 1000, whole, builds)
        if len(sizes) > 1:
            way.sizes, self._ways[way.frame_id] = sizes, way
            self._send_layers(self._layers.add(self.now, way.frame_id, sizes, self._useful_until(way)))
        else:
            self._transmit(way, whole)
        self._encoding = False
        self._take()

    def _size(self, way: _Way) -> tuple[int, bool]:
        """Return the size of a frame, and whether it builds on another."""
        point = way.decision.point
        if self._camera is not None:
            return self._camera.encode(way.frame_id, point)
        return self.world.frames.payload_bytes(way.frame_id - 1, point), False

    def _useful_until(self, way: _Way) -> float:
        """Return when layers must have gone to be of use, as far as the device can tell."""
        predicted = way.decision.predicted
        back_s = 0.0 if predicted is None else (predicted.propagate_ms + predicted.server_ms) / 1000
        return way.capture_time + self.world.deadline_ms / 1000 - back_s if self.world.deadline_ms else float("inf")

    def _send_layers(self, ready: Sequence[Ready[int]]) -> None:
        for frame_id, layer, size in ready:
            self._transmit(self._ways[frame_id], size, layer)

    # The link and the server.

    def _transmit(self, way: _Way, size: int, layer: int = 0) -> None:
        way.payload_bytes += size
        self._policy.sent(self.now, way.frame_id, size, layer)
        wire_bytes = size + MESSAGE_OVERHEAD_BYTES
        self.link_free = self.world.trace.finish_time(max(self.now, self.link_free), wire_bytes)
        half_s = self.world.rtt_ms / 2000
        received = self.link_free + half_s
        ack = Ack(way.frame_id, size, round((received + SERVER_CLOCK_S) * 1e6), 1, layer)
        back_s = half_s + self.luck.jitter_s[way.frame_id]
        self._at(received + back_s, lambda: self._acked(ack))
        if way.sizes:
            self._at(received, lambda: self._arrived(way, layer))
        else:
            self._compute(way, received, back_s)

    def _acked(self, ack: Ack) -> None:
        self._policy.acked(self.now, ack)
        self._send_layers(self._layers.acked(self.now, ack.frame_id, ack.layer))

    def _arrived(self, way: _Way, layer: int) -> None:
        """Let the server have a layer: it computes with the last, or at the last moment."""
        if way.computed:
            return
        way.arrived = layer + 1
        half_s, compute_s = self.world.rtt_ms / 2000, SERVER_BOUND * self.world.server_ms / 1000
        due = way.capture_time + self.world.deadline_ms / 1000 - half_s - compute_s
        if way.arrived == len(way.sizes) or (self.world.deadline_ms and self.now >= due):
            self._compute_layers(way)
        elif layer == 0 and self.world.deadline_ms:
            self._at(due, lambda: self._compute_layers(way))

    def _compute_layers(self, way: _Way) -> None:
        if not way.computed:
            way.computed = True
            self._compute(way, self.now, self.world.rtt_ms / 2000 + self.luck.jitter_s[way.frame_id])

    def _compute(self, way: _Way, begin: float, back_s: float) -> None:
        server_ms = self.luck.server_ms[way.frame_id]
        self._at(begin + back_s + server_ms / 1000, lambda: self._answered(way, server_ms))

    def _answered(self, way: _Way, server_ms: float) -> None:
        timing = ServerTiming(0.1 * server_ms, 0.2 * server_ms, 0.7 * server_ms)
        self._policy.answered(self.now, way.frame_id, timing, len(way.sizes) - way.arrived)
        if self._camera is not None:
            self._camera.answered(way.frame_id)
        self._layers.forget(way.frame_id)
        self._ways.pop(way.frame_id, None)
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
            way.frame_id,
            way.capture_time,
            outcome,
            way.decision,
            way.chosen_at,
            way.payload_bytes,
            total_ms,
            max(1, len(way.sizes)),
            way.arrived,
        )

    def _log(self, frame_id: int, capture_time: float, outcome: Outcome) -> None:
        self.logs[frame_id] = FrameLog(frame_id, capture_time, outcome)


def simulate(world: World, policy: Policy, camera: Camera | None = None) -> list[FrameLog]:
    """Return the fate of every frame of the source under a policy. camera: where frames build on one another."""
    return Simulation(world, policy, camera).run()
