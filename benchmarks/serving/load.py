"""An open-loop load: simulated devices that send real bitstreams when their time has come, answered or not.

All devices share one event loop and few computations, so that the server keeps the processor.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace

import grpc

from edge_client.transport.session import Session, open_session
from splitnet.errors import LinkError
from splitnet.messages import Ack, Frame, FrameDetections, FrameError, OpenSession

GOLDEN = 0.6180339887498949  # successive multiples of it, modulo 1, spread phases evenly for any number of devices
OPENING_S = 1.0  # for sessions to be opened, beside 10 ms for each
SETTLE_S = 2.0  # at the start, which is not counted


@dataclass(frozen=True)
class Load:
    """What all devices together send."""

    devices: int
    frames_per_s: float  # of all of them
    deadline_ms: int
    seconds: float  # that count

    @property
    def period_s(self) -> float:
        """Seconds between two frames of one device."""
        return self.devices / self.frames_per_s


@dataclass
class Tally:
    """What became of one device's frames."""

    sent: int = 0
    latencies_ms: list[float] = field(default_factory=list)  # of those with detections
    overheads_ms: list[float] = field(default_factory=list)  # since they left, less waiting, decoding and computing
    refused: Counter[str] = field(default_factory=Counter)  # by status
    waits_ms: list[float] = field(default_factory=list)  # in the server's queue, of those with detections
    acks_ms: list[float] = field(default_factory=list)  # since they left: the stream's own round trip
    lags_ms: list[float] = field(default_factory=list)  # by which this generator was late itself
    due_at_s: list[float] = field(default_factory=list)  # when each was to be sent, of time.monotonic
    answered_at_s: list[float] = field(default_factory=list)  # the same, of those with detections

    def good(self, deadline_ms: float) -> int:
        """Return how many were answered in time."""
        return sum(latency <= deadline_ms for latency in self.latencies_ms)

    def between(self, begin_s: float, end_s: float) -> tuple[int, list[float]]:
        """Return how many were to be sent from one moment until before another, and the latencies in ms."""
        answered = zip(self.answered_at_s, self.latencies_ms, strict=True)
        sent = sum(begin_s <= at < end_s for at in self.due_at_s)
        return sent, [latency for at, latency in answered if begin_s <= at < end_s]


def added(tallies: Sequence[Tally]) -> Tally:
    """Return the tallies of one device's several sessions as one."""
    whole = Tally()
    for tally in tallies:
        for one in fields(Tally):
            setattr(whole, one.name, getattr(whole, one.name) + getattr(tally, one.name))
    return whole


class Device:
    """One session that replays frames at a steady pace."""

    def __init__(self, number: int, frames: Sequence[Frame], load: Load) -> None:
        """Take a number that spreads the phases, what to send, and how often."""
        self.tally = Tally()
        self._number = number
        self._frames = itertools.islice(itertools.cycle(frames), number % len(frames), None)
        self._load = load
        self._due_at: dict[int, float] = {}
        self._left_at: dict[int, float] = {}
        self._known = asyncio.Event()  # what became of another frame

    async def run(self, server: str, digest: str, start: float) -> None:
        """Open a session, send until the load is over, and wait for the answers, twice the deadline at most."""
        async with open_session(server, OpenSession(f"device-{self._number}", digest), timeout_s=30.0) as session:
            listening = asyncio.create_task(self._listen(session))
            await self._send(session, start)
            await self._all_known()
            session.finish()
            listening.cancel()
            with suppress(asyncio.CancelledError, LinkError):
                await listening

    async def _all_known(self) -> None:
        """Return when every frame is answered or refused, or when twice the deadline has passed."""
        until = time.monotonic() + 2 * self._load.deadline_ms / 1000
        while self._due_at and (left_s := until - time.monotonic()) > 0:
            self._known.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._known.wait(), left_s)

    async def _send(self, session: Session, start: float) -> None:
        period_s = self._load.period_s
        at = start + (self._number * GOLDEN % 1.0) * period_s
        for frame_id in itertools.count(1):
            if at >= start + SETTLE_S + self._load.seconds:
                return
            await asyncio.sleep(at - time.monotonic())
            if at >= start + SETTLE_S:
                self.tally.sent += 1
                self.tally.due_at_s.append(at)
                self._due_at[frame_id] = at  # so that a late generator hides nothing
                self._left_at[frame_id] = time.monotonic()  # so that its lateness is not the server's
                self.tally.lags_ms.append(1000 * (self._left_at[frame_id] - at))
            session.send(replace(next(self._frames), frame_id=frame_id, deadline_ms=self._load.deadline_ms))
            at += period_s

    async def _listen(self, session: Session) -> None:
        async for reply in session.replies():
            now = time.monotonic()
            if isinstance(reply, Ack) and reply.frame_id in self._left_at:
                self.tally.acks_ms.append(1000 * (now - self._left_at[reply.frame_id]))
            elif isinstance(reply, FrameDetections | FrameError) and reply.frame_id in self._due_at:
                self._count(reply, now)

    def _count(self, reply: FrameDetections | FrameError, now: float) -> None:
        due_at, left_at = self._due_at.pop(reply.frame_id), self._left_at.pop(reply.frame_id)
        self._known.set()
        if isinstance(reply, FrameError):
            self.tally.refused[reply.status.name] += 1
            return
        timing = reply.timing
        self.tally.latencies_ms.append(1000 * (now - due_at))
        self.tally.answered_at_s.append(due_at)
        self.tally.waits_ms.append(timing.wait_ms)
        self.tally.overheads_ms.append(1000 * (now - left_at) - timing.decode_ms - timing.infer_ms - timing.wait_ms)


async def run_load(server: str, digest: str, frames: Sequence[Frame], load: Load) -> list[Tally]:
    """Let all devices send at once; returns what each of them got."""
    return await run_devices(server, digest, [Device(number, frames, load) for number in range(load.devices)])


async def run_devices(server: str, digest: str, devices: Sequence[Device]) -> list[Tally]:
    """Let devices send at once, each its own load; returns what each of them got."""
    start = time.monotonic() + opening_s(len(devices))
    await asyncio.gather(*(device.run(server, digest, start) for device in devices))
    return [device.tally for device in devices]


def opening_s(devices: int) -> float:
    """Return how long it takes to open so many sessions, generously."""
    return OPENING_S + 0.01 * devices


async def one_at_a_time(server: str, requests: Sequence[bytes], seconds: float) -> float:
    """Send single calls one after another; returns frames a second."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(server, options=options) as channel:
        infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/slimsplit.v1.SplitInference/Infer"
        )
        await infer(requests[0])
        start, count = time.monotonic(), 0
        while time.monotonic() < start + seconds:
            await infer(requests[count % len(requests)])
            count += 1
        return count / (time.monotonic() - start)
