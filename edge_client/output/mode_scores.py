"""Scores of the modes under measured conditions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.policy import MAX_IN_FLIGHT
from edge_client.output.statistics import RunStatistics
from splitnet.operating_point import LOCAL, Mode, OperatingPoint

ENOUGH_FRAMES = 30  # answered in a mode, before a run says anything of it


@dataclass(frozen=True)
class RunConditions:
    """Under which a mode has to serve, as measured."""

    limits: ControlSettings  # what the user asks for
    fps: float  # of the source
    capacity_bps: float
    rtt_ms: float
    server_ms: Mapping[Mode, float] = field(default_factory=dict)  # in all, of the modes that were tried
    capacity_is_bound: bool = False  # at least so much: nothing has filled the link

    def allow(self, row: PointCosts) -> bool:
        """Return whether the user's limits allow a row."""
        limits = self.limits
        slow = limits.min_fps and row.encode_ms * limits.min_fps > 1000
        large = limits.max_kbps and row.bytes_p50 * 8 * self.fps > limits.max_kbps * 1000
        return not (slow or large)


@dataclass(frozen=True)
class ModeScore:
    """The best that one mode can do, or, if it cannot be in time, the quickest."""

    point: OperatingPoint
    ap: float  # percent, of the frames that it gets to
    share: float  # of the source's frames that it gets to
    kilobytes: float
    total_ms: float
    in_time: bool

    @property
    def effective_ap(self) -> float:
        """Accuracy over all frames, where those without detections in time count as missed."""
        return self.ap * self.share if self.in_time else 0.0


def conditions_of_run(run: RunStatistics, now: float, limits: ControlSettings) -> RunConditions | None:
    """Return the conditions that a run has met; None if it has seen too little of the link."""
    state, seconds = run.policy_state, run.seconds(now)
    frames: Counter[Mode] = Counter()
    server_ms: dict[Mode, float] = {}
    for point, found in sorted(run.points.items(), key=lambda item: item[1].frames):
        if point.is_sent:
            frames[point.mode] += found.frames
            server_ms[point.mode] = found.server.percentile_ms(50)  # the point with the most frames has the last word
    tried = {mode: time for mode, time in server_ms.items() if frames[mode] >= ENOUGH_FRAMES}
    if not (state.capacity_bps and tried and seconds):
        return None
    rtt_ms, fps = state.rtt_min_ms or 0.0, run.captured / seconds
    return RunConditions(limits, fps, state.capacity_bps, rtt_ms, tried, state.capacity_is_bound)


def as_seen(tables: Mapping[Mode, PointTable], run: RunStatistics) -> dict[Mode, PointTable]:
    """Return the tables with times and sizes as the run has seen them, where it has.

    A point that was not used has the size that its codec's others lead one to expect.
    """
    encode_ms = {point: found.encode.percentile_ms(50) for point, found in run.points.items()}
    ratios = _size_ratios([row for table in tables.values() for row in table.rows], run)

    def corrected(row: PointCosts) -> PointCosts:
        ratio = ratios.get(row.codec, 1.0)
        time_ms = encode_ms.get(row.point, row.encode_ms)
        return replace(row, encode_ms=time_ms, bytes_p50=ratio * row.bytes_p50, bytes_p90=ratio * row.bytes_p90)

    return {
        mode: replace(
            table,
            rows=tuple(map(corrected, table.rows)),
            local_ms=None if table.local_ms is None else encode_ms.get(LOCAL, table.local_ms),
        )
        for mode, table in tables.items()
    }


def _size_ratios(rows: Sequence[PointCosts], run: RunStatistics) -> dict[str, float]:
    """Return how many times larger than in the table this camera's frames are, by codec."""
    seen: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for row in rows:
        if (found := run.points.get(row.point)) is not None:
            seen[row.codec] += found.payload_bytes
            expected[row.codec] += round(found.frames * row.bytes_p50)
    return {codec: seen[codec] / expected[codec] for codec in seen if seen[codec]}


def mode_scores(tables: Mapping[Mode, PointTable], conditions: RunConditions) -> list[ModeScore]:
    """Return the best of each mode that was tried and has points within the limits, the best mode first."""
    found = []
    for mode, table in tables.items():
        if mode is Mode.LOCAL:
            candidates = _local(table, conditions)
        else:
            allowed = [row for row in table.rows if mode in conditions.server_ms and conditions.allow(row)]
            candidates = [_remote(row, conditions.server_ms[mode], conditions) for row in allowed]
        if candidates:
            found.append(max(candidates, key=lambda score: (_worth_ap(score, conditions), -score.total_ms)))
    return sorted(found, key=lambda score: (-_worth_ap(score, conditions), score.total_ms))


def _worth_ap(score: ModeScore, conditions: RunConditions) -> float:
    """Return the accuracy over all frames, less the price of the bytes, as the controller counts it."""
    wire_bytes = 1000 * score.kilobytes + MESSAGE_OVERHEAD_BYTES if score.point.is_sent else 0.0
    price_ap = float(conditions.limits.price_ap(np.float64(wire_bytes)))
    return score.effective_ap - price_ap if score.in_time else -np.inf


def _local(table: PointTable, conditions: RunConditions) -> list[ModeScore]:
    if table.local_ms is None or table.local_ap is None:
        return []
    share = min(1.0, 1000 / (conditions.fps * table.local_ms))
    in_time = table.local_ms <= conditions.limits.deadline_ms
    return [ModeScore(LOCAL, table.local_ap, share, 0.0, table.local_ms, in_time)]


def _remote(row: PointCosts, server_ms: float, conditions: RunConditions) -> ModeScore:
    transmit_ms = 8000 * (row.bytes_p90 + MESSAGE_OVERHEAD_BYTES) / conditions.capacity_bps
    total_ms = row.encode_ms + transmit_ms + conditions.rtt_ms + server_ms
    cycle_ms = max(row.encode_ms, transmit_ms, total_ms / MAX_IN_FLIGHT)
    share = min(1.0, 1000 / (conditions.fps * cycle_ms))
    in_time = total_ms <= conditions.limits.deadline_ms
    return ModeScore(row.point, row.ap, share, row.bytes_p50 / 1000, total_ms, in_time)
