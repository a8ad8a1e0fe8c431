"""The policy that adapts: estimators of link, processor, sizes and server around the table controller."""

from __future__ import annotations

import math
from threading import Lock
from typing import TYPE_CHECKING

from edge_client.adaptation.controller import LINK_TRIAL, Controller, ControlSettings
from edge_client.adaptation.load import LoadFactor
from edge_client.adaptation.point_table import PointTable, work_kind
from edge_client.adaptation.policy import Decision, FrameContext, Policy, PolicyState
from edge_client.adaptation.prediction import SystemState
from edge_client.adaptation.prediction_errors import PredictionErrors
from edge_client.adaptation.recent_values import FramePace, RecentValues
from edge_client.adaptation.shared_link import CameraLink, SharedLink
from edge_client.adaptation.sizes import SizeEstimator
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import LOCAL, Codec, OperatingPoint

if TYPE_CHECKING:
    from edge_client.adaptation.load import CpuSample


MAX_EXPECTED = 64  # frames remembered, should answers never come
LONGEST_TRIAL_MS = 1000.0  # of a trial that has no deadline and counts as in time
ENOUGH_ANSWERS = 3  # before the server's time is believed: its first frame may be slower than all others


def _server_values() -> RecentValues:
    return RecentValues(rises=True, enough=ENOUGH_ANSWERS)


class AdaptivePolicy(Policy):
    """Chooses each frame's operating point from what became of the frames before it. Thread-safe."""

    def __init__(self, table: PointTable, settings: ControlSettings, link: CameraLink | None = None) -> None:
        """Take what there is to choose from and the limits. link: the camera's, where several share one."""
        self._table = table
        self._rows = {row.point: row for row in table.rows}
        self._sent_kinds = {row.kind for row in table.rows}
        self._kinds = self._sent_kinds | {work_kind(LOCAL)}
        self._settings = settings
        self._lock = Lock()
        self._controller = Controller(table, settings)
        self._link = link or SharedLink().camera()
        self._load = LoadFactor()
        self._pace = FramePace()
        self._sizes = SizeEstimator()
        self._codecs: frozenset[Codec] | None = None  # that the server takes
        self._server_ms = _server_values()
        self._expected: dict[int, tuple[float, Decision]] = {}  # by frame id: capture time, and what was predicted
        self._goes_the_same_way = False  # the next session, as that of the model before

    @property
    def works_offline(self) -> bool:
        """Whether the device can detect alone while the link is away."""
        return self._settings.has_local and self._table.local_ms is not None

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the decision for the frame that is encoded next."""
        with self._lock:
            self._pace.add(context.frame_id, context.capture_time)
            decision = self._controller.choose(now, context, self._system_state(now))
            if decision.deviation_ms:
                self._expect(context, decision)
            return decision

    def _expect(self, context: FrameContext, decision: Decision) -> None:
        if len(self._expected) == MAX_EXPECTED:
            del self._expected[next(iter(self._expected))]
        self._expected[context.frame_id] = context.capture_time, decision

    def _compare(self, now: float, frame_id: int, in_part: bool = False) -> None:
        """Learn how far a frame came behind its prediction.

        now: infinity if it never came. in_part: it came when its deadline was near; the whole would have come later.
        """
        capture_time, decision = self._expected.pop(frame_id, (0.0, None))
        if decision is not None and decision.predicted is not None:
            total_ms = (now - capture_time) * 1000
            trials = self._controller.trials.get(decision.reason)
            if trials is not None:  # what it had been given for a prediction was a hope
                in_time = total_ms <= (self._settings.deadline_ms or LONGEST_TRIAL_MS)
                trials.ended(in_time)
                if in_time and decision.reason == LINK_TRIAL:  # what was learnt before the silence holds no longer
                    self._server_ms, self._controller.errors = _server_values(), PredictionErrors()
                return
            behind_ms = total_ms - decision.predicted.total_ms
            if in_part:
                behind_ms = max(behind_ms, self._settings.deadline_ms - decision.predicted.total_ms)
            errors = self._controller.errors if decision.point.is_sent else self._controller.local_errors
            errors.add(behind_ms / decision.deviation_ms)

    def encoded(
        self,
        now: float,
        frame_id: int,
        point: OperatingPoint,
        encode_ms: float,
        payload_bytes: int,
        builds: bool = False,
    ) -> None:
        """Learn what encoding has cost."""
        row = self._rows.get(point)
        with self._lock:
            self._link.encoded(now, encode_ms)
            if row is None:
                return
            self._load.measured(now, row.kind, encode_ms / row.encode_ms, row.encode_ms)
            self._sizes.encoded(frame_id, row, payload_bytes, builds)

    def sent(self, now: float, frame_id: int, payload_bytes: int, layer: int = 0) -> None:
        """Learn that a frame, or one of its layers, is on its way."""
        with self._lock:
            self._link.sent(now, frame_id, payload_bytes, layer)

    def acked(self, now: float, ack: Ack) -> None:
        """Learn that the server has a frame."""
        with self._lock:
            self._link.acked(now, ack)

    def answered(self, now: float, frame_id: int, timing: ServerTiming, missing_layers: int = 0) -> None:
        """Learn that a frame's detections have arrived, and how many of its layers the server had to do without."""
        with self._lock:
            self._link.forget(now, frame_id)
            self._sizes.answered(frame_id)
            self._compare(now, frame_id, missing_layers > 0)
            if not missing_layers:
                self._server_ms.add(timing.total_ms)

    def failed(self, now: float, frame_id: int) -> None:
        """Learn that a frame was refused, or lost."""
        with self._lock:
            self._link.forget(now, frame_id)
            self._sizes.reset()
            self._compare(math.inf, frame_id)

    def follow(self, earlier: Policy) -> None:
        """Take over what the policy of the model before this one knows (`Policy`).

        Without it, the first frames of a new model would be sent as if nothing were known of link and processor.
        """
        if not isinstance(earlier, AdaptivePolicy) or earlier is self:
            return
        with earlier._lock:
            known = earlier._link, earlier._load, earlier._pace, earlier._server_ms
            sent, local, codecs = earlier._controller.errors, earlier._controller.local_errors, earlier._codecs
        with self._lock:
            self._link, self._load, self._pace, self._server_ms = known
            self._controller.errors, self._controller.local_errors, self._codecs = sent, local, codecs
            self._goes_the_same_way = True

    def link_up(self, now: float, codecs: frozenset[Codec] | None = None) -> None:
        """Learn that a session is open: its link may be another one."""
        with self._lock:
            self._codecs = codecs
            self._link.up(now, self._goes_the_same_way)
            self._goes_the_same_way = False
            self._sizes.reset()

    def link_down(self, now: float) -> None:
        """Learn that there is none any more; frames in flight are lost."""
        with self._lock:
            self._link.down(now, self._goes_the_same_way)

    def detected_locally(self, now: float, frame_id: int, duration_ms: float) -> None:
        """Learn how long the device took to detect by itself."""
        if self._table.local_ms:
            with self._lock:
                nominal_ms = self._table.local_ms
                self._load.measured(now, work_kind(LOCAL), duration_ms / nominal_ms, nominal_ms)
                self._compare(now, frame_id)

    def sampled(self, now: float, sample: CpuSample) -> None:
        """Learn how busy the device is."""
        with self._lock:
            self._load.warn(sample)

    def state(self, now: float) -> PolicyState:
        """Return its estimates."""
        with self._lock:
            link = self._link.estimate(now)
            return PolicyState(
                capacity_bps=link.capacity_bps,
                capacity_low_bps=link.capacity_low_bps,
                capacity_is_bound=link.app_limited,
                rtt_min_ms=link.rtt_min_ms,
                in_flight_bytes=link.in_flight_bytes,
                overusing=link.overusing,
                load_factor=self._load.common,
            )

    def _system_state(self, now: float) -> SystemState:
        return SystemState(
            link=self._link.estimate(now),
            encode_load=self._load.spreads(now, self._kinds),
            stale=self._load.stale(now, self._sent_kinds),
            sizes=self._sizes.estimate(),
            server_ms=self._server_ms.spread or SystemState.server_ms,
            frame_interval_ms=self._pace.interval_ms,
            codecs=self._codecs,
            others=self._link.others(now),
        )
