"""The way of a frame through the device. Programs get a pipeline from `build`.

Four threads and an event loop: one thread reads frames, one encodes them, one detects on the device (if it can), one
feeds the sinks; the loop talks to the server (`uplink`). The mailbox between reader and encoder holds one frame, the
newest. The ledger is told of every step.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_client.adaptation.policy import Policy
from edge_client.capture.mailbox import Mailbox
from edge_client.capture.pacer import Pacer
from edge_client.capture.source import Source
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.local_detector import LocalResult, LocalRuntime, LocalThread
from edge_client.encoding.references import SentReferences
from edge_client.encoding_loop import Around, EncodingLoop
from edge_client.frames import CapturedFrame, ChosenFrame, EncodedFrame, FrameResult, SentFrame
from edge_client.ledger import FrameLedger
from edge_client.output.own_status import StatusMaker
from edge_client.output.sinks import Recorder, Sink, SinkThread
from edge_client.output.smoothing import Smoothing
from edge_client.output.statistics import RunStatistics
from edge_client.pipeline_parts import HandsOn, ModelParts, Updating
from edge_client.pipeline_settings import PipelineSettings
from edge_client.repetition import Repetition
from edge_client.threads import in_thread
from edge_client.transport.credentials import Credentials
from edge_client.transport.dialing import staggered
from edge_client.transport.renewal import watch
from edge_client.transport.session import open_session
from edge_client.turns import Turns
from edge_client.uplink import Uplink, UplinkSettings
from splitnet.backoff import Backoff
from splitnet.device_status import DeviceStatus
from splitnet.errors import ConfigError
from splitnet.messages import OpenSession

if TYPE_CHECKING:
    from edge_client.measuring.cpu_sampler import CpuSampler

SAMPLE_INTERVAL_S = 1.0
READER_PATIENCE_S = 1.0  # at the end; a camera's driver may hang for good
COMPUTING_PATIENCE_S = 30.0  # at the end, for one frame: a process must not end inside of ONNX Runtime
URGENT_BACKOFF_S = 0.5  # the longest pause between attempts while the device detects alone, or has a deadline


class Pipeline:
    """Runs one source, once."""

    def __init__(
        self,
        source: Source,
        encoder: EncoderRuntime,
        policy: Policy,
        sinks: Sequence[Sink] | SinkThread,
        settings: PipelineSettings,
        *,
        local: LocalRuntime | None = None,
        sampler: CpuSampler | None = None,
        status: StatusMaker | None = None,
        turns: Turns | None = None,
        local_turns: Turns | None = None,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
        updating: Updating | None = None,
        hands_on: HandsOn | None = None,
    ) -> None:
        """Take the parts. Raises ConfigError if there is no server and the policy cannot do without.

        turns, local_turns: at encoder and detector, where several cameras share them, as they may the thread of sinks.
        updating: what may change the model while it runs. hands_on: gives frames to the other devices of a group.
        """
        if not (settings.servers or policy.works_offline):
            raise ConfigError("these operating points need a server: give --server HOST:PORT, or --mode local")
        self._source = source
        self._settings = settings
        self._works_offline = policy.works_offline
        self._sampler = sampler
        self._live = settings.live or not source.finite
        self._hands_on = hands_on
        camera, stream = settings.camera, settings.group_stream
        self._pacer = Pacer(self._live, clock, camera=camera, offset_s=settings.offset_s, stream=stream)
        self._status = status
        self._clock = clock
        self._updating = updating
        self._sinks = sinks if isinstance(sinks, SinkThread) else SinkThread(sinks)
        recorders: list[Recorder] = [] if status is None else [status.journal]
        if updating is not None:
            recorders.append(updating.recorder)
        if settings.smooth:
            recorders.append(Smoothing(self._sinks.sinks))
        self._sinks.attend(settings.camera, recorders)
        self._ledger = FrameLedger(
            policy, settings.deadline_ms, clock, local is not None, self._sinks.record, settings.place
        )
        self._mailbox: Mailbox[CapturedFrame] = Mailbox(
            settings.max_in_flight, self._ledger.overtaken, self._ledger.left_over
        )
        self._local = (
            None
            if local is None
            else LocalThread(*(local, self._post_detected, self._overtaken_locally), turns=local_turns)
        )
        self._references = SentReferences()
        self._shown: Callable[[], object] = tuple  # what both ends show
        self._repetition = Repetition(settings.repeat_s)
        self._uplink = self._uplink_to(settings, encoder, clock, backoff) if settings.servers else None
        patience_s = settings.patience_s if self._works_offline else None
        parts = (self._mailbox, self._ledger, self._references, self._uplink, self._local, turns or Turns(), self._post)
        took = (lambda frame: None) if hands_on is None else hands_on.give
        self._encoding = EncodingLoop(encoder, settings, patience_s, not self._live, Around(*parts, took))
        self._stopped = threading.Event()
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def _opening(self, encoder: EncoderRuntime) -> OpenSession:
        settings = self._settings
        digest, further = encoder.manifest.device_digest, settings.further_digests
        return OpenSession(
            settings.device_id, digest, further_digests=further, camera=settings.camera, group=settings.place
        )

    def _uplink_to(
        self,
        settings: PipelineSettings,
        encoder: EncoderRuntime,
        clock: Callable[[], float],
        backoff: Backoff | None,
    ) -> Uplink:
        urgent = self._works_offline or settings.deadline_ms > 0
        usual = Backoff(random.random, ceiling_s=URGENT_BACKOFF_S) if urgent else Backoff(random.random)
        opening = self._opening(encoder)
        settings.tls.check()
        credentials = Credentials(settings.tls)
        for server in settings.servers:
            credentials.of(server)  # what is missing or damaged is said at once
        self._shown = lambda: [credentials.state(server) for server in settings.servers]
        open_one = partial(open_session, use_proxy=settings.use_proxy, credentials=credentials)
        opener = staggered(open_one) if urgent or len(settings.servers) > 1 else staggered(open_one, None)
        needed = not (self._works_offline and self._local)
        forgives = (lambda error: False) if self._updating is None else self._updating.forgives
        limits = UplinkSettings(
            settings.servers,
            settings.deadline_ms,
            settings.answer_timeout_s,
            needed,
            forgives,
            in_group=settings.place is not None,
        )
        parts = (self._ledger, self._mailbox, self._answered, clock, backoff or usual, opener, self._references)
        return Uplink(limits, opening, *parts)

    @property
    def statistics(self) -> RunStatistics:
        """What has become of the frames so far."""
        self._ledger.statistics.unreadable = self._source.unreadable
        return self._ledger.statistics

    @property
    def lost_outputs(self) -> tuple[str, ...]:
        """The sinks and recorders that have failed: what they should have written is incomplete."""
        return self._sinks.failed

    def run_blocking(self) -> RunStatistics:
        """Run in an event loop of its own; see `run`."""
        return asyncio.run(self.run())

    async def run(self) -> RunStatistics:
        """Run until the source ends, `stop` is called or `max_frames` are done; then finish the sinks.

        Raises SourceError when the source fails, and a ProtocolError when no server will ever take this client and
        the device cannot detect alone. A server that is away is waited for, unless another one is there.
        """
        with nullcontext() if self._status is None else self._status.journal.listening():
            return await self._run()

    async def _run(self) -> RunStatistics:
        self._loop = asyncio.get_running_loop()
        self._sinks.start()
        reading = in_thread(self._read_source, "reader")
        encoding = in_thread(self._encoding.run, "encoder")
        detecting = [in_thread(self._local.run, "local detector")] if self._local else []
        connecting = [asyncio.create_task(self._uplink.run())] if self._uplink else []
        renewing = [asyncio.create_task(watch(self._shown, self._uplink.renew))] if self._uplink else []
        stopping, sampling = asyncio.create_task(self._stopping.wait()), asyncio.create_task(self._sample())
        updating = [asyncio.create_task(self._updating.run(self))] if self._updating else []
        work: list[asyncio.Future[None]] = [*connecting, reading, encoding, *detecting]
        try:
            enough: list[asyncio.Future[Any]] = [*work, stopping]
            await asyncio.wait(enough, return_when=asyncio.FIRST_COMPLETED)
            await self._drain(encoding, detecting, connecting)
        finally:
            self.stop()
            stopping.cancel()
            for task in (sampling, *renewing, *updating):
                task.cancel()
            if self._uplink is not None:
                await self._uplink.end(connecting[0])
            if self._local is not None:
                self._local.close()
            if self._hands_on is not None:
                await asyncio.to_thread(self._hands_on.close)
            await asyncio.wait({reading}, timeout=READER_PATIENCE_S)
            await asyncio.wait({encoding, *detecting}, timeout=COMPUTING_PATIENCE_S)
            await asyncio.to_thread(self._sinks.close)
        for done in work:
            if done.done() and not done.cancelled() and (error := done.exception()) is not None:
                raise error
        return self.statistics

    def stop(self) -> None:
        """End the run soon, but with the answers that are due and finished sinks. From any thread."""
        self._stopped.set()
        self._mailbox.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    @property
    def is_linked(self) -> bool:
        """Whether a session is open."""
        return self._ledger.statistics.no_link_since is None

    def switch(self, parts: ModelParts) -> int:
        """Let another model look at the frames from the next one on, in any thread; returns the last one's id before.

        Waits while a frame is encoded. Frames in flight are still answered by the old model's other half.
        """
        loop = self._loop
        assert loop is not None
        return self._encoding.use(parts, lambda: loop.call_soon_threadsafe(self._switched, parts))

    def _switched(self, parts: ModelParts) -> None:
        if self._uplink is not None:
            self._uplink.switch(self._opening(parts.encoder))

    # In the reading thread.

    def _read_source(self) -> None:
        try:
            if self._source.finite and not self._works_offline:
                self._mailbox.wait_until_resumed()  # nothing of a file is lost while the server cannot be reached
            for frame in self._pacer.frames(self._source, self._stopped.wait):
                if self._hands_on is not None and self._mailbox.is_paused:  # the others may have a link
                    self._hands_on.give(frame)
                if not self._mailbox.put(frame, wait=not self._live):
                    return
                self._ledger.captured(frame)
        finally:
            self._mailbox.finish()

    # In the encoding thread.

    def _post(self, chosen: ChosenFrame, encoded: EncodedFrame) -> None:
        assert self._loop is not None and self._uplink is not None
        if (last := self._repetition.of(chosen.frame, encoded)) is not None:
            self._loop.call_soon_threadsafe(self._repeated, chosen, encoded, last)
            return
        if encoded.reference is not None:
            self._references.sent(encoded.reference)
        self._loop.call_soon_threadsafe(self._uplink.send, SentFrame(chosen, encoded))

    # In the local detector's thread.

    def _post_detected(self, chosen: ChosenFrame, found: LocalResult) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._detected, chosen, found)

    # In any thread.

    def _overtaken_locally(self, chosen: ChosenFrame) -> None:
        self._ledger.overtaken(chosen.frame, chosen)

    # In the event loop's thread, from here on.

    def _answered(self, result: FrameResult, release: Callable[[], None]) -> None:
        self._repetition.answered(result)
        self._sinks.put(result, release)

    def _repeated(self, chosen: ChosenFrame, encoded: EncodedFrame, last: FrameResult) -> None:
        self._sinks.put(self._ledger.repeated(chosen, encoded, last), self._mailbox.release)

    def _detected(self, chosen: ChosenFrame, found: LocalResult) -> None:
        assert self._local is not None
        self._sinks.put(self._ledger.detected(chosen, *found), self._local.release)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            if self._sampler is not None:
                self._ledger.sampled(await asyncio.to_thread(self._sampler.sample))
            if self._status is not None and self._uplink is not None:
                await asyncio.to_thread(self._status.prepare)
                self._uplink.report(partial(self._own_status, self._status))

    def _own_status(self, maker: StatusMaker) -> DeviceStatus:
        return maker.status(self.statistics, self._clock(), self._ledger.cpu)

    async def _drain(
        self,
        encoding: asyncio.Future[None],
        detecting: Sequence[asyncio.Future[None]],
        connecting: Sequence[asyncio.Task[None]],
    ) -> None:
        """Wait for the results still to come, as long as they come, and not once the connection has failed."""
        finishing = asyncio.create_task(self._all_finished(encoding, detecting))
        ending: set[asyncio.Future[None]] = {finishing, *connecting}
        before: tuple[int, int] | None = None
        while (progress := self._progress) != before or self._encoding.is_busy:
            before = progress
            over, _ = await asyncio.wait(
                ending, timeout=self._settings.drain_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if over:
                break
        finishing.cancel()

    @property
    def _progress(self) -> tuple[int, int]:
        """Frames that have been encoded, and frames whose results are still to come."""
        return self._encoding.encoded, self._mailbox.pending + (0 if self._local is None else self._local.pending)

    async def _all_finished(self, encoding: asyncio.Future[None], detecting: Sequence[asyncio.Future[None]]) -> None:
        await asyncio.wait({encoding})
        if self._uplink is not None:
            await self._uplink.wait_until_empty()
        if self._local is not None:
            self._local.finish()
            await asyncio.wait(detecting)
