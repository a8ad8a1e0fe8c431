"""Advice on the mode that would serve best, and by how much, in plain sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_client.adaptation.point_table import PointTable
from edge_client.output.mode_scores import ModeScore, RunConditions, mode_scores
from splitnet.operating_point import LOCAL, Mode

NOISE_AP = 1.0  # smaller differences mean nothing


def advice(tables: Mapping[Mode, PointTable], conditions: RunConditions) -> list[str]:
    """Return the sentences: the conditions, the best mode, how far behind the others are, what is not known."""
    unknown = [sentence for mode, table in tables.items() if (sentence := _unjudged(mode, table, conditions))]
    return [_said_conditions(conditions), *_verdict(mode_scores(tables, conditions), conditions), *unknown]


def _verdict(scores: Sequence[ModeScore], conditions: RunConditions) -> list[str]:
    if not scores:
        return ["no mode can be judged: the bundle has no measured operating points within the limits"]
    best, *others = scores
    if best.in_time:
        return [f"{best.point.mode.value} serves best: {_said(best)}", *(_behind(o, best, conditions) for o in others)]
    if conditions.capacity_is_bound:
        return ["nothing has filled the link, so whether a mode can be in time is not known"]
    needed = f"{best.point} in {best.total_ms:.0f} ms"
    return [f"no mode meets the deadline here; the quickest is {needed}: allow at least that"]


def _said_conditions(conditions: RunConditions) -> str:
    servers = ", ".join(f"{time:.0f} ms for {mode.value}" for mode, time in conditions.server_ms.items())
    least = "at least " if conditions.capacity_is_bound else ""
    return (
        f"with {least}{conditions.capacity_bps / 1e6:.2f} Mbps, a round trip of {conditions.rtt_ms:.1f} ms, "
        f"the server's {servers}, {conditions.fps:.3g} frames a second and "
        f"a deadline of {conditions.limits.deadline_ms:g} ms:"
    )


def _said(score: ModeScore) -> str:
    where = "on the device" if score.point == LOCAL else f"with {score.point}, {score.kilobytes:.1f} KB"
    if score.share > 0.995:
        return f"AP {score.ap:.1f} {where} in {score.total_ms:.0f} ms"
    return (
        f"AP {score.ap:.1f} {where} in {score.total_ms:.0f} ms, but for {score.share:.0%} of the frames: "
        f"{score.effective_ap:.1f} over all"
    )


def _behind(score: ModeScore, best: ModeScore, conditions: RunConditions) -> str:
    name = score.point.mode.value
    if not score.in_time and conditions.capacity_is_bound and score.point.is_sent:
        return f"whether {name} can be in time is not known: nothing has filled the link"
    if not score.in_time:
        return f"{name} cannot be in time: its quickest, {score.point}, takes {score.total_ms:.0f} ms"
    less = best.effective_ap - score.effective_ap
    verdict = "as good, within the noise" if less < NOISE_AP else f"{less:.1f} AP less"
    return f"{name} is {verdict}: {_said(score)}"


def _unjudged(mode: Mode, table: PointTable, conditions: RunConditions) -> str | None:
    """Return why nothing is said of a mode, None if something is."""
    if mode is Mode.LOCAL or not table.rows:
        return None
    if mode not in conditions.server_ms:
        return f"{mode.value} was hardly tried, so nothing is said of it: edge-client profile --server tries every mode"
    if not any(map(conditions.allow, table.rows)):
        return f"{mode.value} has no operating point within --max-kbps and --min-fps"
    return None
