"""The fate of every captured frame, passed on to policy, statistics and trace."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from edge_client.adaptation.controller import UNATTAINABLE
from edge_client.adaptation.policy import Decision, FrameContext, Policy
from edge_client.frames import CapturedFrame, ChosenFrame, EncodedFrame, Fate, FrameOutcome, FrameResult, SentFrame
from edge_client.output.statistics import RunStatistics
from splitnet.detections import Detections
from splitnet.messages import Ack, FrameDetections, FrameError, GroupPlace, ServerTiming
from splitnet.operating_point import LOCAL, SKIP, Codec

if TYPE_CHECKING:
    from edge_client.adaptation.load import CpuSample

logger = logging.getLogger(__name__)

NO_SERVER = ServerTiming(0.0, 0.0, 0.0)


class FrameLedger:
    """Every step of a frame is reported here once, and goes on to the policy, the statistics and the trace.

    From any thread; the policy hears of each step in the thread that reports it (see `Policy`).
    """

    def __init__(
        self,
        policy: Policy,
        deadline_ms: float,
        clock: Callable[[], float],
        has_local: bool = False,
        on_fate: Callable[[Fate], None] = lambda fate: None,
        place: GroupPlace | None = None,
    ) -> None:
        """Take who chooses, the deadline (0: none), and what to call with each frame's fate.

        place: the device's in its group, if it is in one.
        """
        self._place = place
        self._policy = policy
        self._deadline_ms = deadline_ms
        self._clock = clock
        self._has_local = has_local
        self._on_fate = on_fate
        self._lock = Lock()
        self._statistics = RunStatistics(clock(), place)
        self._cpu: CpuSample | None = None
        self._warned = False

    @property
    def statistics(self) -> RunStatistics:
        """The figures so far. To be read in the event loop's thread, where all but single counts are written."""
        return self._statistics

    @property
    def cpu(self) -> CpuSample | None:
        """The latest sample of the processor."""
        return self._cpu

    def use(self, policy: Policy) -> None:
        """Let another policy choose, and hear, from now on; it knows what the one before has learnt."""
        policy.follow(self._policy)
        self._policy = policy

    # What happens to a frame.

    def captured(self, frame: CapturedFrame) -> None:
        """Count a frame in."""
        with self._lock:
            self._statistics.captured += 1

    def left_over(self, frame: CapturedFrame) -> None:
        """Forget a frame that still waited when the run ended: nothing was to become of it."""
        with self._lock:
            self._statistics.captured -= 1

    def overtaken(self, frame: CapturedFrame, chosen: ChosenFrame | None = None) -> None:
        """Count out a frame that a newer one has replaced: before it was chosen, or waiting for the own detector."""
        with self._lock:
            self._statistics.overtaken += 1
        self._on_fate(Fate(FrameOutcome.OVERTAKEN, frame, chosen))

    def choose(self, frame: CapturedFrame, context: FrameContext) -> ChosenFrame:
        """Ask the policy. A point that cannot be used now is skipped instead."""
        now = self._clock()
        decision = self._feasible(self._policy.choose(now, context), context)
        chosen = ChosenFrame(frame, decision, now, self._policy.state(now), self._cpu)
        self._warn_once(decision)
        with self._lock:
            self._statistics.add_choice(decision.point, chosen.policy_state)
        return chosen

    def _warn_once(self, decision: Decision) -> None:
        if decision.reason == UNATTAINABLE and not self._warned:
            self._warned = True
            logger.warning("nothing meets the deadline of %g ms here; the quickest is done instead", self._deadline_ms)

    def _feasible(self, decision: Decision, context: FrameContext) -> Decision:
        if decision.point.is_sent and not context.can_send:
            return Decision(SKIP, "nothing can be sent now")
        if decision.point == LOCAL and not self._has_local:
            return Decision(SKIP, "no detector on this device")
        return decision

    def skipped(self, chosen: ChosenFrame) -> None:
        """Count out a frame that was skipped."""
        with self._lock:
            self._statistics.skipped += 1
        self._on_fate(Fate(FrameOutcome.SKIPPED, chosen.frame, chosen))

    def encoded(self, chosen: ChosenFrame, encoded: EncodedFrame) -> None:
        """Note what a payload has cost."""
        builds = encoded.builds_on is not None
        self._policy.encoded(
            self._clock(), chosen.frame.frame_id, encoded.point, encoded.encode_ms, len(encoded.payload), builds
        )

    def sent(self, sent: SentFrame) -> None:
        """Note that a frame is on its way."""
        first = sent.encoded.layers[0] if sent.encoded.layers else sent.encoded.payload
        self._policy.sent(self._clock(), sent.frame.frame_id, len(first))

    def layer_sent(self, frame_id: int, layer: int, payload_bytes: int) -> None:
        """Note that a further layer of a frame is on its way."""
        self._policy.sent(self._clock(), frame_id, payload_bytes, layer)

    def acked(self, ack: Ack) -> None:
        """Note that the server has a frame."""
        self._policy.acked(self._clock(), ack)

    def answered(self, sent: SentFrame, reply: FrameDetections) -> FrameResult:
        """Count out a frame that the server has answered; returns the result for the sinks."""
        now = self._clock()
        missing = max(0, len(sent.encoded.layers) - reply.layers_used)
        self._policy.answered(now, sent.frame.frame_id, reply.timing, missing)
        in_frame = sent.encoded.in_frame
        return self._result(
            now,
            sent.chosen,
            sent.encoded,
            in_frame(reply.detections),
            reply.timing,
            layers_used=reply.layers_used,
            further=tuple(map(in_frame, reply.further)),
            parts_used=reply.parts_used if self._place is not None else None,
        )

    def detected(self, chosen: ChosenFrame, encoded: EncodedFrame, detections: Detections) -> FrameResult:
        """Count out a frame that the device has looked at itself; returns the result for the sinks.

        encoded: without a payload, its time is that of the whole detection.
        """
        now = self._clock()
        self._policy.detected_locally(now, chosen.frame.frame_id, encoded.encode_ms)
        return self._result(now, chosen, encoded, detections, NO_SERVER)

    def repeated(self, chosen: ChosenFrame, encoded: EncodedFrame, last: FrameResult) -> FrameResult:
        """Count out a frame in which nothing had changed, and which was not sent; returns the result for the sinks.

        last: the answer that it repeats.
        """
        now, unsent = self._clock(), replace(encoded, payload=b"")
        return self._result(now, chosen, unsent, last.detections, NO_SERVER, repeated=True, further=last.further)

    def refused(self, sent: SentFrame, error: FrameError) -> bool:
        """Count out a frame that the server has refused; returns whether it is the first for this reason."""
        kind = error.status.name.lower()
        self._policy.failed(self._clock(), sent.frame.frame_id)
        with self._lock:
            self._statistics.refused[kind] += 1
            first = self._statistics.refused[kind] == 1
        self._on_fate(Fate(FrameOutcome.REFUSED, sent.frame, sent.chosen, sent.encoded))
        return first

    def lost(self, sent: SentFrame) -> None:
        """Count out a frame that the link has swallowed."""
        self._policy.failed(self._clock(), sent.frame.frame_id)
        with self._lock:
            self._statistics.lost += 1
        self._on_fate(Fate(FrameOutcome.LOST, sent.frame, sent.chosen, sent.encoded))

    # What happens around them.

    def link_sought(self) -> None:
        """Note that there is no session yet, but is to be one."""
        with self._lock:
            self._statistics.no_link_since = self._clock()

    def link_up(self, server: str, codecs: frozenset[Codec] | None = None) -> None:
        """Note that a session is open, and with whom."""
        with self._lock:
            self._statistics.add_session(server)
        self._policy.link_up(self._clock(), codecs)

    def link_down(self) -> None:
        """Note that there is none any more."""
        self.link_sought()
        self._policy.link_down(self._clock())

    def sampled(self, sample: CpuSample) -> None:
        """Note how busy the device is."""
        self._cpu = sample
        self._policy.sampled(self._clock(), sample)

    def _result(
        self,
        now: float,
        chosen: ChosenFrame,
        encoded: EncodedFrame,
        detections: Detections,
        timing: ServerTiming,
        repeated: bool = False,
        layers_used: int = 0,
        further: tuple[Detections, ...] = (),
        parts_used: tuple[int, ...] | None = None,
    ) -> FrameResult:
        latency_ms = (now - chosen.frame.capture_time) * 1000
        late = 0 < self._deadline_ms < latency_ms
        result = FrameResult(
            chosen.frame,
            encoded,
            detections,
            timing,
            latency_ms,
            late,
            repeated,
            layers_used=layers_used,
            further=further,
            parts_used=parts_used,
        )
        with self._lock:
            self._statistics.add_result(now, result, chosen.decision.predicted)
        on_time = FrameOutcome.ANSWERED if encoded.point.is_sent else FrameOutcome.LOCAL
        self._on_fate(Fate(FrameOutcome.LATE if late else on_time, chosen.frame, chosen, encoded, result))
        return result
