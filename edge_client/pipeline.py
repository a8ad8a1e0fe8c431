"""The way of a frame through the device, for programs of your own as well as for `edge-client run`.

    encoder = load_encoder(Path("bundles/coco-nano"), device="cpu", threads=1)
    source = open_source("0", fps=30, camera_patience_s=30)
    settings = PipelineSettings(server="edge:50051", deadline_ms=200)
    policy = FixedPolicy(OperatingPoint(Codec.RANS, width=4, quality=2))
    pipeline = Pipeline(source, encoder, policy, [CallbackSink(print)], settings)
    statistics = await pipeline.run()  # or, without an event loop: pipeline.run_blocking()

Three threads and an event loop: one thread reads frames, one encodes them, one feeds the sinks; the loop
talks to the server. The mailbox between reader and encoder holds one frame, the newest.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edge_client.backoff import Backoff
from edge_client.connection import Connection
from edge_client.encoder_runtime import EncodedFrame, EncoderRuntime
from edge_client.in_flight import InFlight, SentFrame
from edge_client.mailbox import Mailbox
from edge_client.pacer import CapturedFrame, Pacer
from edge_client.policy import Circumstances, Policy
from edge_client.result import FrameResult
from edge_client.sinks import Sink, SinkThread
from edge_client.source import Source
from edge_client.status import RunStatistics
from splitnet.errors import ConfigError
from splitnet.messages import Draining, Frame, FrameDetections, FrameError, OpenSession, Reply

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PipelineSettings:
    """How a run behaves."""

    server: str  # host:port
    device_id: str = "edge-client"  # names this device in the server's log
    deadline_ms: float = 0.0  # from capture to detections, 0 for none
    max_frames: int = 0  # encode so many and stop, 0 for all
    max_in_flight: int = 2  # frames being encoded or awaiting their answer
    live: bool = True  # pace finite sources like a camera and let the newest frame win; else take every frame
    drain_timeout_s: float = 5.0  # how long to wait at the end for frames in flight
    answer_timeout_s: float = 10.0  # a frame unanswered for so long is lost, and the session is reopened

    def __post_init__(self) -> None:
        """Raise ConfigError if a field is out of range."""
        host, _, port = self.server.rpartition(":")
        if not (host and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"the server is given as HOST:PORT, not {self.server!r}")
        if self.deadline_ms < 0 or self.max_frames < 0:
            raise ConfigError("the deadline and the number of frames cannot be negative")
        if self.max_in_flight < 1:
            raise ConfigError("at least one frame must be allowed in flight")


class Pipeline:
    """Runs one source against one server, once."""

    def __init__(
        self,
        source: Source,
        encoder: EncoderRuntime,
        policy: Policy,
        sinks: Sequence[Sink],
        settings: PipelineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
    ) -> None:
        self._source = source
        self._encoder = encoder
        self._policy = policy
        self._settings = settings
        self._clock = clock
        self._sinks = SinkThread(sinks)
        self._mailbox: Mailbox[CapturedFrame] = Mailbox(settings.max_in_flight)
        self._statistics = RunStatistics(clock())
        self._in_flight = InFlight(settings.answer_timeout_s, self._give_up)
        self._linked_once = threading.Event()
        self._stopped = threading.Event()
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        opening = OpenSession(settings.device_id, encoder.manifest.digest)
        self._connection = Connection(settings.server, opening, self, backoff or Backoff(random.random))

    @property
    def statistics(self) -> RunStatistics:
        """What has become of the frames so far."""
        self._statistics.captured = self._mailbox.received
        self._statistics.overtaken = self._mailbox.overtaken
        self._statistics.unreadable = self._source.unreadable
        return self._statistics

    def run_blocking(self) -> RunStatistics:
        """Run in an event loop of its own; see `run`."""
        return asyncio.run(self.run())

    async def run(self) -> RunStatistics:
        """Run until the source ends, `stop` is called or `max_frames` are done; then finish the sinks.

        Raises SourceError when the source fails, and a ProtocolError when the server will never take this
        client. A server that is away is waited for.
        """
        self._loop = asyncio.get_running_loop()
        self._sinks.start()
        connecting = asyncio.create_task(self._connection.run())
        reading = _in_thread(self._read_source, "reader")
        encoding = _in_thread(self._encode_frames, "encoder")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            enough: set[asyncio.Future[Any]] = {reading, encoding, connecting, stopping}
            await asyncio.wait(enough, return_when=asyncio.FIRST_COMPLETED)
            await self._drain(encoding, connecting)
        finally:
            self.stop()
            stopping.cancel()
            await self._connection.end(connecting)
            await asyncio.wait({reading, encoding}, timeout=1.0)  # a camera's driver may hold its thread longer
            self._lose(len(self._in_flight.pop_all()))
            await asyncio.to_thread(self._sinks.close)
        for task in (connecting, reading, encoding):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return self.statistics

    def stop(self) -> None:
        """End the run soon, but with the answers under way and finished sinks. From any thread."""
        self._stopped.set()
        self._linked_once.set()
        self._mailbox.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    # In the reading thread.

    def _read_source(self) -> None:
        live = self._settings.live or not self._source.finite
        try:
            if self._source.finite:
                self._linked_once.wait()  # nothing of a file is lost while the server cannot be reached
            for frame in Pacer(live, self._clock).frames(self._source, self._stopped.wait):
                if not self._mailbox.put(frame, wait=not live):
                    return
        finally:
            self._mailbox.finish()

    # In the encoding thread.

    def _encode_frames(self) -> None:
        count = 0
        while (frame := self._mailbox.take()) is not None:
            decision = self._policy.choose(self._clock(), self._circumstances(frame))
            encoded = self._encoder.encode(frame.image, decision.point)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._send, frame, encoded)
            count += 1
            if count == self._settings.max_frames:
                self._mailbox.close()

    def _circumstances(self, frame: CapturedFrame) -> Circumstances:
        deadline_ms = self._settings.deadline_ms
        return Circumstances(frame.frame_id, frame.capture_time, deadline_ms, len(self._in_flight) + 1)

    # In the event loop's thread, from here on.

    def _send(self, frame: CapturedFrame, encoded: EncodedFrame) -> None:
        height, width = frame.image.shape[:2]
        message = Frame(
            frame_id=frame.frame_id,
            capture_time_us=round(frame.capture_time * 1e6),
            operating_point=encoded.point,
            payload=encoded.payload,
            frame_width=width,
            frame_height=height,
            deadline_ms=self._remaining_ms(frame),
        )
        if self._connection.send(message):
            self._in_flight.add(SentFrame(frame, encoded))
        else:
            self._lose(1)

    def _remaining_ms(self, frame: CapturedFrame) -> int:
        """Return what is left of the deadline, as the server counts from arrival; 0 means none."""
        if not self._settings.deadline_ms:
            return 0
        age_ms = (self._clock() - frame.capture_time) * 1000
        return max(1, int(self._settings.deadline_ms - age_ms))

    def link_up(self) -> None:
        """Let frames go: a session is open."""
        self._statistics.sessions += 1
        self._linked_once.set()
        self._mailbox.resume()

    def link_down(self) -> None:
        """Hold frames back; those under way are lost."""
        self._mailbox.pause()
        self._lose(len(self._in_flight.pop_all()))

    def receive(self, reply: Reply) -> None:
        """Take a reply of the server."""
        if isinstance(reply, FrameDetections):
            self._answer(reply)
        elif isinstance(reply, FrameError):
            self._refuse(reply)
        elif isinstance(reply, Draining):
            logger.warning("the server is shutting down; frames are held until one can be reached again")
            self._mailbox.pause()
            self._connection.leave_session(reply.grace_ms / 1000)

    def _answer(self, reply: FrameDetections) -> None:
        now = self._clock()
        sent = self._in_flight.pop(reply.frame_id)
        if sent is None:
            return  # given up already
        latency_ms = (now - sent.frame.capture_time) * 1000
        late = 0 < self._settings.deadline_ms < latency_ms
        result = FrameResult(sent.frame, sent.encoded, reply.detections, reply.timing, latency_ms, late)
        self._statistics.add_result(now, result)
        self._sinks.put(result, self._mailbox.release)

    def _refuse(self, reply: FrameError) -> None:
        if self._in_flight.pop(reply.frame_id) is None:
            return
        kind = reply.status.name.lower()
        if kind not in self._statistics.refused:  # later ones are only counted
            logger.warning("the server refused frame %d (%s): %s", reply.frame_id, kind, reply.message)
        self._statistics.refused[kind] += 1
        self._mailbox.release()

    def _give_up(self, frame_id: int) -> None:
        logger.warning("frame %d is unanswered after %g s", frame_id, self._settings.answer_timeout_s)
        self._connection.break_session()

    def _lose(self, count: int) -> None:
        self._statistics.lost += count
        for _ in range(count):
            self._mailbox.release()

    async def _drain(self, encoding: asyncio.Future[None], connecting: asyncio.Task[None]) -> None:
        """Wait for the answers still to come, but not for ever, and not once the connection has failed."""
        answering = asyncio.create_task(self._all_answered(encoding))
        timeout = self._settings.drain_timeout_s
        await asyncio.wait({answering, connecting}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()

    async def _all_answered(self, encoding: asyncio.Future[None]) -> None:
        await asyncio.wait({encoding})
        await self._in_flight.wait_until_empty()


def _in_thread(function: Callable[[], None], name: str) -> asyncio.Future[None]:
    """Run a function in a daemon thread; the future ends with it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has closed: nobody waits for this thread any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
