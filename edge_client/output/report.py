"""How to say what a run has done so far: in one line, as a summary, in JSON. Nothing here prints."""

from __future__ import annotations

from typing import Any

from edge_client.output.statistics import PointStatistics, PredictionStatistics, RunStatistics
from edge_client.percentiles import LatencyHistogram, percentile
from splitnet.operating_point import OperatingPoint

TABLE_HEADER = f"{'point':<12} {'frames':>7} {'KB/frame':>9} {'encode ms':>10} {'latency ms p50':>15} {'p95':>7}"


def status_line(run: RunStatistics, now: float) -> str:
    """Return one line about the last few seconds (drops and late frames: about the whole run)."""
    latencies = run.recent_latency.values(now)
    if not latencies:
        return f"no detections in the last seconds | answered {run.answered}, {_drops(run)}"
    sizes = run.recent_bytes.values(now)
    p50, p95 = percentile(latencies, 50), percentile(latencies, 95)
    parts = [
        f"{run.recent_latency.rate_per_s(now):.1f} fps",
        _mode_and_point(run.last_point),
        f"{sum(sizes) / len(sizes) / 1000:.1f} KB/frame",
        *_estimates(run),
        f"latency p50 {p50:.0f} p95 {p95:.0f} ms",
        *_moves(run),
        _drops(run),
    ]
    return " | ".join(parts)


def summary(run: RunStatistics, now: float) -> str:
    """Return the whole run as a few lines and a table by operating point."""
    latency = run.whole.end_to_end
    lines = [
        f"{run.detected} of {run.captured} frames answered in {run.seconds(now):.1f} s "
        f"({run.frames_per_s(now):.1f} fps), {run.whole.kilobytes_mean:.2f} KB/frame",
        f"latency p50 {latency.percentile_ms(50):.1f}, p95 {latency.percentile_ms(95):.1f}, "
        f"p99 {latency.percentile_ms(99):.1f} ms | {_drops(run)}",
    ]
    if run.prediction.frames:
        lines += [_modes(run, now), _predictions(run.prediction)]
    lines += [f"refused by the server: {count} {kind}" for kind, count in sorted(run.refused.items())]
    if run.unreadable:
        lines.append(f"{_counted(run.unreadable, 'unreadable image')} passed over")
    if run.sessions > 1:
        lines.append(", ".join([f"the link broke and was opened again {run.sessions - 1} times", *_moves(run)]))
    return "\n".join(lines + _table(run))


def to_json(run: RunStatistics, now: float) -> dict[str, Any]:
    """Return the whole run as a JSON object."""
    return {
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
        "modes": run.modes(),
        "switches_per_minute": round(run.switches_per_minute(now), 2),
        "prediction": _prediction_to_json(run.prediction),
        "total": _point_to_json(run.whole),
        "points": [{"point": str(point), **_point_to_json(found)} for point, found in _ordered_points(run)],
    }


def _mode_and_point(point: OperatingPoint | None) -> str:
    """Return "split w4 q2", "image jpeg 30", "local"."""
    if point is None:
        return "-"
    return f"{point.mode.value} {point}" if point.is_sent else str(point)


def _estimates(run: RunStatistics) -> list[str]:
    state = run.policy_state
    least = ">= " if state.capacity_is_bound else ""
    parts = [] if state.capacity_bps is None else [f"{least}{state.capacity_bps / 1e6:.2f} Mbps"]
    return parts if state.load_factor is None else [*parts, f"load x{state.load_factor:.2f}"]


def _moves(run: RunStatistics) -> list[str]:
    moves = "1 move" if run.moves == 1 else f"{run.moves} moves"
    return [f"at {run.server} after {moves}"] if run.moves else []


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


def _predictions(prediction: PredictionStatistics) -> str:
    return (
        f"latency predicted p50 {prediction.predicted.percentile_ms(50):.1f}, "
        f"real p50 {prediction.real.percentile_ms(50):.1f} ms | error p50 {prediction.error.percentile_ms(50):.1f}, "
        f"p90 {prediction.error.percentile_ms(90):.1f} ms"
    )


def _table(run: RunStatistics) -> list[str]:
    rows = [_row(point, found) for point, found in _ordered_points(run)]
    return [TABLE_HEADER, *rows] if rows else []


def _ordered_points(run: RunStatistics) -> list[tuple[OperatingPoint, PointStatistics]]:
    return sorted(run.points.items(), key=lambda item: (item[0].codec.value, item[0].width, item[0].quality))


def _row(point: OperatingPoint, found: PointStatistics) -> str:
    encode_ms, latency = found.encode.percentile_ms(50), found.end_to_end
    return (
        f"{point!s:<12} {found.frames:>7} {found.kilobytes_mean:>9.2f} {encode_ms:>10.1f} "
        f"{latency.percentile_ms(50):>15.1f} {latency.percentile_ms(95):>7.1f}"
    )


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


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
