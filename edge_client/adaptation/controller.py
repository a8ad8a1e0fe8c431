"""The table controller: from what is known at one moment, the operating point for the next frame.

Of the rows whose cautious total meets the deadline, it takes the one with the most accuracy per frame of the source.
It steps down at once. It steps up after a dwell, if the gain is worth it, and to no more than GROWTH times the bytes
that the link has carried within the last second. After a pause, a link delivers in bursts and looks rich. Pure; of its
past it knows only its last choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_client.adaptation.point_table import PointCosts, PointTable, work_kind
from edge_client.adaptation.policy import Decision, FrameContext, LatencyBreakdown
from edge_client.adaptation.prediction import NOMINAL, Prediction, Spread, SystemState, predict
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, SKIP

DWELL_S = 0.3  # between a step down and the next step up
UP_MARGIN = 0.02  # of the accuracy: less is not worth a change
GROWTH = 2.0  # times the bytes carried within the last second
SILENT_MS = 200.0  # an ack overdue by more: the link counts as dead
UNATTAINABLE = "no operating point meets the deadline, whatever the link"


@dataclass(frozen=True)
class ControlSettings:
    """What the user asks for. 0: no such limit."""

    deadline_ms: float = 0.0  # from capture to detections
    min_fps: float = 0.0  # frames a second that encoding must keep up with
    max_kbps: float = 0.0  # of the uplink, in 1000 bits a second
    has_local: bool = False  # the device holds the detector's weights

    def __post_init__(self) -> None:
        """Raise ConfigError if a limit is negative."""
        if not all(limit >= 0 for limit in (self.deadline_ms, self.min_fps, self.max_kbps)):
            raise ConfigError("the deadline, --min-fps and --max-kbps cannot be negative; leave them out for no limit")


class Controller:
    """Chooses the operating point of each frame."""

    def __init__(self, table: PointTable, settings: ControlSettings) -> None:
        self._table = table
        self._settings = settings
        self._current: PointCosts | None = None
        self._stepped_down = float("-inf")

    def choose(self, now: float, context: FrameContext, state: SystemState) -> Decision:
        """Return the decision for a frame, with its reason and the expected latency."""
        wait_ms = max(0.0, now - context.capture_time) * 1000
        local = self._local(wait_ms, context, state)
        if not context.can_send or state.link.silent_ms > SILENT_MS:
            return local or Decision(SKIP, "link silent")
        if not self._table.rows:
            return replace(local, reason="only mode") if local else Decision(SKIP, "the detector is busy")
        budget_ms = context.deadline_ms or float("inf")
        allowed = self._within_limits(predict(self._table.rows, wait_ms, budget_ms, state), state)
        fitting = [p for p in allowed if p.cautious_ms <= budget_ms]
        best = max(fitting, key=lambda p: (p.score, -p.cautious_ms), default=None)
        if local is not None and self._local_is_better(local, best, budget_ms, state):
            return replace(local, reason="the device is faster than the link")
        if best is None:
            return self._late(allowed, budget_ms)
        if state.link.capacity_bps is None:
            return self._taken(
                min(fitting, key=lambda p: p.wire_bytes * p.encode_ms), "start"
            )  # soon here, and telling
        current = next((p for p in fitting if p.row is self._current), None)
        return self._settled(now, best, _step_towards(best, current, fitting, state.link.carried_bytes), current)

    def _local(self, wait_ms: float, context: FrameContext, state: SystemState) -> Decision | None:
        """Return the decision to detect on the device, if it can and is free to."""
        local_ms = self._table.local_ms
        if local_ms is None or not self._settings.has_local or context.local_pending:
            return None
        return Decision(LOCAL, "link silent", LatencyBreakdown(wait_ms, local_ms * _local_load(state).expected))

    def _local_is_better(self, local: Decision, best: Prediction | None, budget_ms: float, state: SystemState) -> bool:
        assert local.predicted is not None
        load, local_ms = _local_load(state), local.predicted.encode_ms
        if local.predicted.wait_ms + local_ms * load.p90 / load.expected > budget_ms:
            return False
        if best is None:
            return True
        if state.link.capacity_bps is None:
            return False  # ask the link first
        share = min(1.0, (state.frame_interval_ms or local_ms) / local_ms)
        return (self._table.local_ap or 0.0) * share > best.score

    def _within_limits(self, predictions: Sequence[Prediction], state: SystemState) -> Sequence[Prediction]:
        """Return what the user's limits allow; if that is nothing, what comes closest to it."""
        if not (self._settings.min_fps or self._settings.max_kbps):
            return predictions
        most_ms = 1000 / self._settings.min_fps if self._settings.min_fps else float("inf")
        most_bytes = float("inf")
        if self._settings.max_kbps and state.frame_interval_ms is not None:
            most_bytes = self._settings.max_kbps * state.frame_interval_ms / 8
        allowed = [p for p in predictions if p.encode_ms <= most_ms and p.row.bytes_p50 <= most_bytes]
        return allowed or [min(predictions, key=lambda p: p.encode_ms / most_ms + p.row.bytes_p50 / most_bytes)]

    def _settled(self, now: float, best: Prediction, step: Prediction, current: Prediction | None) -> Decision:
        """Return the step, unless the best is hardly better, or it is a step up too soon after one down."""
        if self._current is None:
            return self._taken(step, "start")
        if current is None:
            self._stepped_down = now
            return self._taken(step, "down")
        too_soon = step.wire_bytes > current.wire_bytes and now - self._stepped_down < DWELL_S
        too_little = best.score < (1 + UP_MARGIN) * current.score
        return self._taken(current, "steady") if too_soon or too_little else self._taken(step, "better")

    def _taken(self, chosen: Prediction, reason: str) -> Decision:
        self._current = chosen.row
        return Decision(chosen.row.point, reason, chosen.breakdown)

    def _late(self, predictions: Sequence[Prediction], budget_ms: float) -> Decision:
        """Return the quickest, or SKIP if this frame's age or the queue is to blame: the next one will be better."""
        quickest = min(predictions, key=lambda p: p.total_ms)
        self._current = quickest.row
        if quickest.total_ms <= budget_ms:
            return Decision(quickest.row.point, "tight", quickest.breakdown)
        if quickest.fresh_ms <= budget_ms:
            return Decision(SKIP, "the next frame can be in time", quickest.breakdown)
        attainable = min(p.fresh_ms - p.own_ms for p in predictions) <= budget_ms
        return Decision(quickest.row.point, "the link is too slow" if attainable else UNATTAINABLE, quickest.breakdown)


def _step_towards(
    best: Prediction, current: Prediction | None, fitting: Sequence[Prediction], carried_bytes: float
) -> Prediction:
    """Return the best, or a step towards it if that is too far from what the link has been seen to carry.

    A step always leads further than the current row. Else a camera with small frames would stay there for ever.
    """
    reached = max(carried_bytes, 0.0 if current is None else current.wire_bytes)
    if best.wire_bytes <= max(GROWTH * carried_bytes, reached):
        return best
    further = sorted((p for p in fitting if p.wire_bytes > reached), key=lambda p: p.wire_bytes)
    within = [p for p in further if p.wire_bytes <= GROWTH * carried_bytes]
    return within[-1] if within else further[0]


def _local_load(state: SystemState) -> Spread:
    return state.encode_load.get(work_kind(LOCAL), NOMINAL)
