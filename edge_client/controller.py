"""The table controller: from what is known at one moment, the operating point for the next frame.

Of the rows whose cautious total meets the deadline, the one with the most accuracy per frame of the source is
taken: down at once; up by a margin, after a dwell, and to no more than GROWTH times the bytes that the link
has lately been seen to carry. No clock, no input; of its own past it knows only its last choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_client.link import LinkEstimate
from edge_client.policy import Circumstances, Decision, Terms
from edge_client.prospect import Prospect, Situation, Spread, predict
from edge_client.table import Table, work_kind
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, SKIP, OperatingPoint

DWELL_S = 0.3  # between a step down and the next step up
UP_MARGIN = 0.02  # of the accuracy: less is not worth a step up
GROWTH = 2.0  # times the bytes lately carried
SILENT_MS = 250.0  # nothing heard for so long beyond a usual round trip: the link is taken for dead
UNATTAINABLE = "no operating point meets the deadline"


@dataclass(frozen=True)
class ControlSettings:
    """What the user asks for. 0: no such limit."""

    deadline_ms: float = 0.0  # from capture to detections
    min_fps: float = 0.0  # frames a second that encoding must keep up with
    max_kbps: float = 0.0  # of the uplink, in 1000 bits a second
    has_local: bool = False  # the device holds the detector's weights

    def __post_init__(self) -> None:
        """Raise ConfigError if a limit is negative."""
        if not min(self.deadline_ms, self.min_fps, self.max_kbps) >= 0:
            raise ConfigError("the deadline, --min-fps and --max-kbps cannot be negative; leave them out for no limit")


class Controller:
    """Chooses the operating point of each frame."""

    def __init__(self, table: Table, settings: ControlSettings) -> None:
        self._table = table
        self._settings = settings
        self._current: OperatingPoint | None = None
        self._stepped_down = float("-inf")

    def choose(self, now: float, circumstances: Circumstances, situation: Situation) -> Decision:
        """Return the decision for a frame, with its reason and the expected terms."""
        wait_ms = max(0.0, now - circumstances.capture_time) * 1000
        local = self._local(wait_ms, circumstances, situation)
        if not circumstances.can_send or _is_silent(situation.link):
            return local or Decision(SKIP, "link silent")
        if not self._table.rows:
            return local or Decision(SKIP, "the detector is busy")
        budget_ms = circumstances.deadline_ms or float("inf")
        prospects = [predict(row, wait_ms, situation) for row in self._table.rows]
        allowed = [p for p in prospects if self._within_limits(p, situation)] or prospects[:1]
        fitting = [p for p in self._within_reach(allowed, situation) if p.cautious_ms <= budget_ms]
        best = max(fitting, key=lambda p: (p.score, -p.cautious_ms), default=None)
        if local is not None and self._local_is_better(local, best, budget_ms, situation):
            return replace(local, reason="the device is faster than the link")
        return self._late(allowed, budget_ms) if best is None else self._settled(now, best, fitting)

    def _local(self, wait_ms: float, circumstances: Circumstances, situation: Situation) -> Decision | None:
        """Return the decision to detect on the device, if it can and is free to."""
        local_ms = self._table.local_ms
        if local_ms is None or not self._settings.has_local or circumstances.local_pending:
            return None
        return Decision(LOCAL, "link silent", Terms(wait_ms, local_ms * _load(situation, LOCAL).expected))

    def _local_is_better(self, local: Decision, best: Prospect | None, budget_ms: float, situation: Situation) -> bool:
        assert local.predicted is not None
        load, local_ms = _load(situation, LOCAL), local.predicted.encode_ms
        if local.predicted.wait_ms + local_ms * load.p90 / load.expected > budget_ms:
            return False
        if best is None:
            return True
        if situation.link.capacity_bps is None:
            return False  # ask the link first
        share = min(1.0, (situation.frame_interval_ms or local_ms) / local_ms)
        return (self._table.local_ap or 0.0) * share > best.score

    def _within_limits(self, prospect: Prospect, situation: Situation) -> bool:
        min_fps, max_kbps = self._settings.min_fps, self._settings.max_kbps
        if min_fps and prospect.expected.encode_ms > 1000 / min_fps:
            return False
        interval_ms = situation.frame_interval_ms
        return not max_kbps or interval_ms is None or 8 * prospect.row.bytes_p50 / interval_ms <= max_kbps

    def _within_reach(self, prospects: Sequence[Prospect], situation: Situation) -> list[Prospect]:
        """Return those that are not too large a step from what the link has lately carried."""
        carried = situation.carried_bytes
        next_larger = min((p.row.bytes_p50 for p in prospects if p.row.bytes_p50 > carried), default=0.0)
        reach = max(GROWTH * carried, next_larger)
        return [p for p in prospects if p.row.bytes_p50 <= reach]

    def _settled(self, now: float, best: Prospect, fitting: Sequence[Prospect]) -> Decision:
        """Return the best, unless that is a step up which is too small or too early."""
        current = next((p for p in fitting if p.row.point == self._current), None)
        if current is None or best.row.bytes_p50 < current.row.bytes_p50:
            reason = "start" if self._current is None else "down"
            self._stepped_down = now
        elif best is current:
            reason = "steady"
        elif now - self._stepped_down < DWELL_S or best.score < (1 + UP_MARGIN) * current.score:
            best, reason = current, "steady"
        else:
            reason = "up"
        self._current = best.row.point
        return Decision(best.row.point, reason, best.expected)

    def _late(self, prospects: Sequence[Prospect], budget_ms: float) -> Decision:
        """Return the quickest, or skip if this frame's age or the queue is to blame: the next one will be better."""
        quickest = min(prospects, key=lambda p: p.expected.total_ms)
        self._current = quickest.row.point
        if quickest.expected.total_ms <= budget_ms:
            return Decision(quickest.row.point, "tight", quickest.expected)
        if quickest.fresh_ms <= budget_ms:
            return Decision(SKIP, "the next frame can be in time", quickest.expected)
        return Decision(quickest.row.point, UNATTAINABLE, quickest.expected)


def _is_silent(link: LinkEstimate) -> bool:
    return link.silent_ms > SILENT_MS + (link.rtt_ms or 0.0)


def _load(situation: Situation, point: OperatingPoint) -> Spread:
    return situation.encode_load.get(work_kind(point), Spread())
