"""Which mode would serve best, and by how much: from measured figures, in plain sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.policy import MAX_IN_FLIGHT
from edge_client.output.statistics import RunStatistics
from splitnet.operating_point import LOCAL, Mode, OperatingPoint

NOISE_AP = 1.0  # smaller differences mean nothing


@dataclass(frozen=True)
class RunConditions:
    """Under which a mode has to serve, as measured."""

    deadline_ms: float  # from capture to detections
    fps: float  # of the source
    capacity_bps: float
    rtt_ms: float
    server_ms: Mapping[Mode, float]  # wait, decode and infer, of the modes that were tried

    def server_ms_of(self, mode: Mode) -> float:
        """Return the server's time for a mode; for one that was not tried, the longest of the others."""
        return self.server_ms.get(mode, max(self.server_ms.values(), default=0.0))


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


def conditions_of_run(run: RunStatistics, now: float, deadline_ms: float) -> RunConditions | None:
    """Return the conditions that a run has met; None if it has seen too little of the link."""
    state, seconds = run.policy_state, run.seconds(now)
    if not (state.capacity_bps and run.captured > 1 and seconds and run.answered):
        return None
    server_ms: dict[Mode, float] = {}
    for point, found in sorted(run.points.items(), key=lambda item: item[1].frames):
        if point.is_sent:
            server_ms[point.mode] = found.server.percentile_ms(50)  # the point with the most frames has the last word
    return RunConditions(deadline_ms, run.captured / seconds, state.capacity_bps, state.rtt_min_ms or 0.0, server_ms)


def with_times_of_run(tables: Mapping[Mode, PointTable], run: RunStatistics) -> dict[Mode, PointTable]:
    """Return the tables with the device's times as the run has seen them, where it has, instead of the profile's."""
    seen = {point: found.encode.percentile_ms(50) for point, found in run.points.items()}
    return {
        mode: replace(
            table,
            rows=tuple(replace(row, encode_ms=seen.get(row.point, row.encode_ms)) for row in table.rows),
            local_ms=None if table.local_ms is None else seen.get(LOCAL, table.local_ms),
        )
        for mode, table in tables.items()
    }


def mode_scores(tables: Mapping[Mode, PointTable], conditions: RunConditions) -> list[ModeScore]:
    """Return the best score of each mode that has one, the best first. Tables: one for each mode."""
    found = []
    for mode, table in tables.items():
        if mode is Mode.LOCAL:
            candidates = _local(table, conditions)
        else:
            candidates = [_remote(row, conditions.server_ms_of(mode), conditions) for row in table.rows]
        if candidates:
            found.append(max(candidates, key=lambda score: (score.effective_ap, -score.total_ms)))
    return sorted(found, key=lambda score: (-score.effective_ap, score.total_ms))


def advice(found: Sequence[ModeScore], conditions: RunConditions) -> list[str]:
    """Return the sentences: the conditions, the best mode, and how far behind each other one is."""
    lines = [_conditions(conditions)]
    if not found:
        return [*lines, "no mode can be judged: the bundle has no measured operating points"]
    best, *others = found
    if not best.in_time:
        needed = f"{best.point} in {best.total_ms:.0f} ms"
        return [*lines, f"no mode meets the deadline here; the quickest is {needed}: allow at least that"]
    return [*lines, f"{best.point.mode.value} serves best: {_said(best)}", *(_behind(o, best) for o in others)]


def _conditions(conditions: RunConditions) -> str:
    servers = ", ".join(f"{time:.0f} ms for {mode.value}" for mode, time in conditions.server_ms.items())
    return (
        f"with {conditions.capacity_bps / 1e6:.2f} Mbps, a round trip of {conditions.rtt_ms:.1f} ms, "
        f"the server's {servers}, {conditions.fps:.3g} frames a second and a deadline of {conditions.deadline_ms:g} ms:"
    )


def _said(score: ModeScore) -> str:
    where = "on the device" if score.point == LOCAL else f"with {score.point}, {score.kilobytes:.1f} KB"
    if score.share > 0.995:
        return f"AP {score.ap:.1f} {where} in {score.total_ms:.0f} ms"
    return (
        f"AP {score.ap:.1f} {where} in {score.total_ms:.0f} ms, but for {score.share:.0%} of the frames: "
        f"{score.effective_ap:.1f} over all"
    )


def _behind(score: ModeScore, best: ModeScore) -> str:
    name = score.point.mode.value
    if not score.in_time:
        return f"{name} cannot be in time: its quickest, {score.point}, takes {score.total_ms:.0f} ms"
    less = best.effective_ap - score.effective_ap
    verdict = "as good, within the noise" if less < NOISE_AP else f"{less:.1f} AP less"
    return f"{name} is {verdict}: {_said(score)}"


def _local(table: PointTable, conditions: RunConditions) -> list[ModeScore]:
    if table.local_ms is None or table.local_ap is None:
        return []
    share = min(1.0, 1000 / (conditions.fps * table.local_ms))
    in_time = table.local_ms <= conditions.deadline_ms
    return [ModeScore(LOCAL, table.local_ap, share, 0.0, table.local_ms, in_time)]


def _remote(row: PointCosts, server_ms: float, conditions: RunConditions) -> ModeScore:
    transmit_ms = 8000 * (row.bytes_p90 + MESSAGE_OVERHEAD_BYTES) / conditions.capacity_bps
    total_ms = row.encode_ms + transmit_ms + conditions.rtt_ms + server_ms
    cycle_ms = max(row.encode_ms, transmit_ms, total_ms / MAX_IN_FLIGHT)
    share = min(1.0, 1000 / (conditions.fps * cycle_ms))
    return ModeScore(row.point, row.ap, share, row.bytes_p50 / 1000, total_ms, total_ms <= conditions.deadline_ms)
