"""The report of a run, as a summary and in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_client.output.statistics import PointStatistics, PredictionStatistics, RunStatistics
from edge_client.percentiles import LatencyHistogram
from splitnet.messages import GroupPlace
from splitnet.operating_point import OperatingPoint
from splitnet.text_table import text_table

# How a server's refusals are called, by their status.
_REFUSED = {
    "resource_exhausted": "because it was too busy",
    "deadline_exceeded": "because they were too late",
    "invalid_argument": "as damaged",
    "unavailable": "because it was shutting down",
}
COLUMNS = ("point", "frames", "KB/frame", "encode ms", "latency ms p50", "p95")


def summary(run: RunStatistics, now: float, backend: str) -> str:
    """Return the whole run as a few lines and a table by operating point. backend: what ran the encoder."""
    latency = run.whole.end_to_end
    lines = [
        f"{run.detected} of {run.captured} frames answered in {run.seconds(now):.1f} s "
        f"({run.frames_per_s(now):.1f} fps), {run.whole.kilobytes_mean:.2f} KB/frame",
        f"latency p50 {latency.percentile_ms(50):.1f}, p95 {latency.percentile_ms(95):.1f}, "
        f"p99 {latency.percentile_ms(99):.1f} ms | {_drops(run)}",
    ]
    if run.prediction.frames:
        lines += [_modes(run, now), _predictions(run.prediction)]
    lines += [
        f"refused by the server: {count} {_REFUSED.get(kind, kind)}" for kind, count in sorted(run.refused.items())
    ]
    if run.place is not None:
        lines.append(_of_group(run, run.place))
    if run.unreadable:
        lines.append(f"{counted(run.unreadable, 'unreadable image')} passed over")
    if run.sessions > 1:
        again = counted(run.sessions - 1, "time")
        lines.append(", ".join([f"the link broke and was opened again {again}", *_moves(run)]))
    return "\n".join([*lines, *_table(run, backend)])


def to_json(run: RunStatistics, now: float, backend: str) -> dict[str, Any]:
    """Return the whole run as a JSON object. backend: what ran the encoder."""
    return {
        "backend": backend,
        "seconds": round(run.seconds(now), 2),
        "fps": round(run.frames_per_s(now), 2),
        "captured": run.captured,
        "answered": run.answered,
        "local": run.local,
        "skipped": run.skipped,
        "late": run.late,
        "overtaken": run.overtaken,
        "lost": run.lost,
        "refused": dict(run.refused),
        "unreadable": run.unreadable,
        "sessions": run.sessions,
        "moves": run.moves,
        "server": run.server,
        **({} if run.place is None else {"group": _group_to_json(run, run.place)}),
        "modes": run.modes(),
        "switches_per_minute": round(run.switches_per_minute(now), 2),
        "prediction": _prediction_to_json(run.prediction),
        "total": _point_to_json(run.whole),
        "points": [{"point": str(point), **_point_to_json(found)} for point, found in _ordered_points(run)],
    }


def summary_of_all(runs: Mapping[str, RunStatistics], now: float, backend: str) -> str:
    """Return the summaries of all cameras; of several, a line of sums and each under its name."""
    if len(runs) == 1:
        return summary(next(iter(runs.values())), now, backend)
    detected, captured = sum(run.detected for run in runs.values()), sum(run.captured for run in runs.values())
    fps = sum(run.frames_per_s(now) for run in runs.values())
    parts = [f"{len(runs)} cameras: {detected} of {captured} frames answered ({fps:.1f} fps)"]
    return "\n\n".join([*parts, *(f"{name}: {summary(run, now, backend)}" for name, run in runs.items())])


def to_json_of_all(runs: Mapping[str, RunStatistics], now: float, backend: str) -> dict[str, Any]:
    """Return a run as a JSON object; of several cameras, with sums and an object for each in "cameras"."""
    if len(runs) == 1:
        return to_json(next(iter(runs.values())), now, backend)
    cameras = {name: to_json(run, now, backend) for name, run in runs.items()}
    summed = ("fps", "captured", "answered", "local", "skipped", "late", "overtaken", "lost", "unreadable", "sessions")
    sums = {key: round(sum(one[key] for one in cameras.values()), 2) for key in summed}
    return {"backend": backend, "seconds": max(one["seconds"] for one in cameras.values()), **sums, "cameras": cameras}


def _moves(run: RunStatistics) -> list[str]:
    return [f"at {run.server} after {counted(run.moves, 'move')}"] if run.moves else []


def _drops(run: RunStatistics) -> str:
    parts = [f"dropped {run.overtaken} overtaken, {run.lost} lost"]
    if run.skipped:
        parts.append(f"{run.skipped} skipped")
    if run.refused:
        parts.append(f"{run.refused.total()} refused")
    return ", ".join(parts) + (f" | late {run.late}" if run.late else "")


def _modes(run: RunStatistics, now: float) -> str:
    counts = ", ".join(f"{count} {mode}" for mode, count in run.modes().items() if count)
    return f"by mode: {counts or 'none'} | {run.switches_per_minute(now):.1f} switches a minute"


def _of_group(run: RunStatistics, place: GroupPlace) -> str:
    if not run.degraded:
        return f"group {place}: every answer had all parts"
    missed = ", ".join(f"part {part} in {count}" for part, count in sorted(run.missing.items()))
    return f"group {place}: {run.degraded} of {run.detected} answers lacked a part ({missed})"


def _group_to_json(run: RunStatistics, place: GroupPlace) -> dict[str, Any]:
    return {
        "name": place.name,
        "part": place.part,
        "parts": place.parts,
        "spare": place.spare,
        "degraded": run.degraded,
        "unused": run.unused,
        "missing": {str(part): count for part, count in sorted(run.missing.items())},
    }


def _predictions(prediction: PredictionStatistics) -> str:
    return (
        f"latency predicted p50 {prediction.predicted.percentile_ms(50):.1f}, "
        f"real p50 {prediction.real.percentile_ms(50):.1f} ms | error p50 {prediction.error.percentile_ms(50):.1f}, "
        f"p90 {prediction.error.percentile_ms(90):.1f} ms"
    )


def _table(run: RunStatistics, backend: str) -> list[str]:
    rows = [_row(point, found) for point, found in _ordered_points(run)]
    return [f"encode times by {backend}", *text_table(COLUMNS, rows, left=("point",)).splitlines()] if rows else []


def _ordered_points(run: RunStatistics) -> list[tuple[OperatingPoint, PointStatistics]]:
    return sorted(run.points.items(), key=lambda item: (item[0].codec.value, item[0].width, item[0].quality))


def _row(point: OperatingPoint, found: PointStatistics) -> tuple[str, ...]:
    times = (found.encode.percentile_ms(50), *(found.end_to_end.percentile_ms(share) for share in (50, 95)))
    return (str(point), str(found.frames), f"{found.kilobytes_mean:.2f}", *(f"{one:.1f}" for one in times))


def _prediction_to_json(prediction: PredictionStatistics) -> dict[str, Any]:
    return {
        "frames": prediction.frames,
        "predicted_ms_p50": _rounded(prediction.predicted, 50),
        "real_ms_p50": _rounded(prediction.real, 50),
        "error_ms_p50": _rounded(prediction.error, 50),
        "error_ms_p90": _rounded(prediction.error, 90),
    }


def _point_to_json(found: PointStatistics) -> dict[str, Any]:
    return {
        "frames": found.frames,
        "kilobytes_mean": round(found.kilobytes_mean, 3),
        "encode_ms_p50": _rounded(found.encode, 50),
        "encode_ms_p95": _rounded(found.encode, 95),
        "end_to_end_ms_p50": _rounded(found.end_to_end, 50),
        "end_to_end_ms_p95": _rounded(found.end_to_end, 95),
        "end_to_end_ms_p99": _rounded(found.end_to_end, 99),
    }


def _rounded(times: LatencyHistogram, percent: float) -> float:
    return round(times.percentile_ms(percent), 2)


def counted(number: int, noun: str) -> str:
    """Return "1 time", "2 times"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
