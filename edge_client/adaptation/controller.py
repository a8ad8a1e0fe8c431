"""The table controller: from what is known at one moment, the operating point for the next frame.

It takes the point with the highest expected accuracy: accuracy times the chance to be in time, times the share of the
source's frames that it keeps up with, less the price of its bytes. The device's own detector, where it is free, is one
of the points. Pure; of its past it knows its last choice and the errors of its predictions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_client.adaptation.layered_rows import LAYERS, LayeredRows
from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.point_table import PointTable, work_kind
from edge_client.adaptation.policy import Decision, FrameContext, LatencyBreakdown
from edge_client.adaptation.prediction import (
    LEAST_DEVIATION_MS,
    NORMAL_P90,
    Figures,
    Predictions,
    Predictor,
    SystemState,
)
from edge_client.adaptation.prediction_errors import PredictionErrors
from edge_client.adaptation.spread import NOMINAL
from edge_client.adaptation.trials import GAIN_AP, LINK_PAUSE_S, WORK_PAUSE_S, Trials
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, SKIP, Codec, OperatingPoint

BYTE_PRICE_AP = 0.4  # that twice the bytes must gain: half an AP is not worth ten times as many, 1.4 AP are
CHEAP_BYTES = 500.0  # about what a message costs anyway: the price counts doublings from here on
MARGIN_AP = 0.1  # less is not worth a change
LAYERS_AP = 0.05  # that layers must gain over the frame in one piece
LEAST_CHANCE = 0.15  # to be in time; a frame that has less is not sent for its own sake
SILENT_MS = 200.0  # an ack overdue by more: the link counts as dead
LINK_TRIAL, WORK_TRIAL = "to hear of the link", "to learn what it costs now"
UNATTAINABLE = "no operating point meets the deadline, whatever the link"


@dataclass(frozen=True)
class ControlSettings:
    """What the user asks for. 0: no such limit."""

    deadline_ms: float = 0.0  # from capture to detections
    min_fps: float = 0.0  # frames a second that encoding must keep up with
    max_kbps: float = 0.0  # of the uplink, in 1000 bits a second
    has_local: bool = False  # the device holds the detector's weights
    byte_price_ap: float = BYTE_PRICE_AP  # AP that a doubling of a frame's bytes must gain
    in_layers: bool = True  # frames may be sent in layers, where the server takes them

    def __post_init__(self) -> None:
        """Raise ConfigError if a limit is negative."""
        if not all(limit >= 0 for limit in (self.deadline_ms, self.min_fps, self.max_kbps)):
            raise ConfigError("the deadline, --min-fps and --max-kbps cannot be negative; leave them out for no limit")
        if not self.byte_price_ap >= 0:
            raise ConfigError("--byte-price-ap cannot be negative; 0 lets bytes cost nothing")

    def price_ap(self, wire_bytes: Figures) -> Figures:
        """Return what frames of these sizes, messages included, must gain in AP."""
        doublings: Figures = np.log2(1 + wire_bytes / CHEAP_BYTES)
        return self.byte_price_ap * doublings


class Controller:
    """Chooses the operating point of each frame."""

    def __init__(self, table: PointTable, settings: ControlSettings) -> None:
        self._table = table
        self._settings = settings
        self._predictor = Predictor(table.rows)
        self._ap = np.array([row.ap for row in table.rows])
        self._layers = LayeredRows(table.rows) if table.rows and settings.in_layers else None
        self._in_one_piece = np.zeros(len(table.rows), bool)
        self._current: int | None = None  # row of the last choice
        self._codecs: tuple[frozenset[Codec] | None, NDArray[np.bool_]] | None = None  # that a server takes: which rows
        self._points = [row.point for row in table.rows]
        self._was_silent = False  # the link, when the device last detected alone
        self.trials = {LINK_TRIAL: Trials(LINK_PAUSE_S), WORK_TRIAL: Trials(WORK_PAUSE_S)}
        self.errors = PredictionErrors()  # of frames that were sent
        self.local_errors = PredictionErrors()  # of the device's own detector

    def choose(self, now: float, context: FrameContext, state: SystemState) -> Decision:
        """Return the decision for a frame, with its reason and the expected latency."""
        usual = self._usual(now, context, state)
        if state.link.capacity_bps is None or not (context.can_send and self._table.rows):
            return usual
        return self._trial(now, usual, context, state) or usual

    def _trial(self, now: float, usual: Decision, context: FrameContext, state: SystemState) -> Decision | None:
        """Return the decision to try what looks bad by figures that are old, None if nothing is worth it."""
        wait_ms = max(0.0, now - context.capture_time) * 1000
        if usual.point == LOCAL:
            if not self._asks_link(now, context, state):
                return None
            self.trials[LINK_TRIAL].begun(now)
            return self._best_of(wait_ms, context, state, LINK_TRIAL)
        if not (usual.point.is_sent and state.stale and self.trials[WORK_TRIAL].is_due(now)):
            return None
        self.trials[WORK_TRIAL].begun(now)
        hopeful = replace(state, encode_load={**state.encode_load, **dict.fromkeys(state.stale, NOMINAL)})
        return self._best_of(wait_ms, context, hopeful, WORK_TRIAL, usual.point)

    def _asks_link(self, now: float, context: FrameContext, state: SystemState) -> bool:
        """Return whether a link that the last frames did without is worth one: it was silent, or not heard for long.

        What comes after a silence was held up by it, and says little of the link that is back.
        """
        is_due, is_silent = self.trials[LINK_TRIAL].is_due(now), state.link.silent_ms > SILENT_MS
        self._was_silent = self._was_silent or is_silent
        if is_silent or context.in_flight > 1:
            return False
        was_silent, self._was_silent = self._was_silent, False
        return was_silent or (is_due and state.link.unheard_s >= LINK_PAUSE_S)

    def _best_of(
        self,
        wait_ms: float,
        context: FrameContext,
        state: SystemState,
        reason: str,
        rival: OperatingPoint | None = None,
    ) -> Decision | None:
        """Return the decision for the best row. Over a rival it must gain GAIN_AP, by work that is not fresh."""
        predictions = self._predictor.predict(wait_ms, state)
        allowed = self._within_limits(predictions, state)
        budget_ms = context.deadline_ms or np.inf
        chances = self.errors.chances((budget_ms - predictions.total_ms) / predictions.deviation_ms)
        scores = self._scores(predictions, chances, state)
        best = int(allowed[np.argmax(scores[allowed])])
        if rival is not None and not (
            self._table.rows[best].kind in state.stale and scores[best] >= scores[self._points.index(rival)] + GAIN_AP
        ):
            return None
        return Decision(self._point(best), reason, predictions.breakdown(best), float(predictions.deviation_ms[best]))

    def _usual(self, now: float, context: FrameContext, state: SystemState) -> Decision:
        """Return the decision by what is known."""
        wait_ms = max(0.0, now - context.capture_time) * 1000
        local = self._local(wait_ms, context, state)
        if not context.can_send or state.link.silent_ms > SILENT_MS:
            return local or Decision(SKIP, "link silent")
        if not self._table.rows:
            return replace(local, reason="only mode") if local else Decision(SKIP, "the detector is busy")
        budget_ms = context.deadline_ms or float("inf")
        predictions = self._predictor.predict(wait_ms, state)
        allowed = self._within_limits(predictions, state)
        if state.link.capacity_bps is None:
            soonest = allowed[np.argmin((predictions.wire_bytes * predictions.encode_ms)[allowed])]  # and telling
            return self._taken(int(soonest), "start", predictions)
        chances = self.errors.chances((budget_ms - predictions.total_ms) / predictions.deviation_ms)
        scores, in_layers = self._scores(predictions, chances, state), self._in_one_piece
        if self._layers is not None and context.max_layers >= LAYERS:
            layered = self._layered_scores(self._layers, budget_ms, predictions, state)
            in_layers = layered > scores + LAYERS_AP
            scores = np.where(in_layers, layered, scores)
        best = int(allowed[np.argmax(scores[allowed])])
        if local is not None and self._local_score(local, budget_ms) > scores[best]:
            return replace(local, reason="the device's own detector is worth more")
        if chances[best] < LEAST_CHANCE and not in_layers[best]:
            return self._late(allowed, budget_ms, predictions)
        current = self._current
        keeps = current is not None and current in allowed and scores[best] < scores[current] + MARGIN_AP
        row, reason = (current, "steady") if keeps else (best, "start" if current is None else "better")
        assert row is not None
        taken = self._taken(row, reason, predictions)
        return replace(taken, layers=LAYERS) if in_layers[row] else taken

    def _scores(self, predictions: Predictions, chances: Figures, state: SystemState) -> Figures:
        """Return the expected accuracy of each row for a frame of the source, less the price of its bytes."""
        worth: Figures = self._ap * predictions.frame_share(state.frame_interval_ms) * chances
        return worth - self._settings.price_ap(predictions.wire_bytes)

    def _layered_scores(
        self, layers: LayeredRows, budget_ms: float, predictions: Predictions, state: SystemState
    ) -> Figures:
        """Return the same of each row for a frame in layers, not all of which need be in time; -inf if it cannot be.

        Each layer adds its accuracy with its chance to be in time.
        """
        times_ms = layers.totals(predictions)
        least = self.errors.chances((budget_ms - times_ms) / predictions.deviation_ms)
        worth = self._ap * predictions.frame_share(state.frame_interval_ms) * (layers.gains * least).sum(axis=0)
        scores = worth - self._settings.price_ap(predictions.wire_bytes * layers.shares[-1])
        return np.where((least[0] >= LEAST_CHANCE) & layers.can, scores, -np.inf)

    def _local(self, wait_ms: float, context: FrameContext, state: SystemState) -> Decision | None:
        """Return the decision to detect on the device, if it can and is free to."""
        local_ms = self._table.local_ms
        if local_ms is None or not self._settings.has_local or context.local_pending:
            return None
        load = state.encode_load.get(work_kind(LOCAL), NOMINAL)
        deviation_ms = max(LEAST_DEVIATION_MS, local_ms * (load.p90 - load.expected) / NORMAL_P90)
        predicted = LatencyBreakdown(wait_ms, local_ms * load.expected)
        return Decision(LOCAL, "link silent", predicted, deviation_ms)

    def _local_score(self, local: Decision, budget_ms: float) -> float:
        """Return its expected accuracy for this frame. Others can be sent meanwhile, so its pace does not matter."""
        assert local.predicted is not None
        chance = self.local_errors.chance((budget_ms - local.predicted.total_ms) / local.deviation_ms)
        return -np.inf if chance < LEAST_CHANCE else (self._table.local_ap or 0.0) * chance

    def _within_limits(self, predictions: Predictions, state: SystemState) -> NDArray[np.intp]:
        """Return the rows that the user's limits allow; if that is none, the one that comes closest to them."""
        limits = self._settings
        most_ms = 1000 / limits.min_fps if limits.min_fps else np.inf
        most_bytes = np.inf
        if limits.max_kbps and state.frame_interval_ms is not None:
            most_bytes = state.others.kbps_left(limits.max_kbps) * state.frame_interval_ms / 8
        taken = self._decodable(state.codecs)
        usual_bytes = predictions.wire_bytes - MESSAGE_OVERHEAD_BYTES
        encode_ms = predictions.encode_ms / predictions.encoder_share
        allowed = np.flatnonzero(taken & (encode_ms <= most_ms) & (usual_bytes <= most_bytes))
        if len(allowed):
            return allowed
        excess = encode_ms / most_ms + usual_bytes / most_bytes
        return np.array([np.argmin(np.where(taken, excess, np.inf))])

    def _decodable(self, codecs: frozenset[Codec] | None) -> NDArray[np.bool_]:
        """Return which rows the server takes; a session's answer does not change."""
        if self._codecs is None or self._codecs[0] != codecs:
            taken = np.array([codecs is None or row.point.codec in codecs for row in self._table.rows])
            self._codecs = codecs, taken
        return self._codecs[1]

    def _taken(self, row: int, reason: str, predictions: Predictions) -> Decision:
        self._current = row
        return Decision(self._point(row), reason, predictions.breakdown(row), float(predictions.deviation_ms[row]))

    def _late(self, allowed: NDArray[np.intp], budget_ms: float, predictions: Predictions) -> Decision:
        """Return the quickest, or SKIP if this frame's age or the queue is to blame: the next one will be better."""
        row = int(allowed[np.argmin(predictions.total_ms[allowed])])
        if predictions.total_ms[row] <= budget_ms:
            return self._taken(row, "tight", predictions)
        if predictions.fresh_ms[row] <= budget_ms:
            return Decision(SKIP, "the next frame can be in time", predictions.breakdown(row))
        attainable = np.min((predictions.fresh_ms - predictions.own_ms)[allowed]) <= budget_ms
        return self._taken(row, "the link is too slow" if attainable else UNATTAINABLE, predictions)

    def _point(self, row: int) -> OperatingPoint:
        return self._table.rows[row].point
