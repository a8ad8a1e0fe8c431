"""Figures of a simulated run: accuracy, deadlines, latencies, and how quickly a policy reacts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from benchmarks.adaptation.effective_accuracy import FrameBank, InPart, Seen
from benchmarks.adaptation.simulation import FrameLog, Outcome
from splitnet.operating_point import OperatingPoint

NEW_BEST_SHARE = 0.9


def run_figures(logs: Sequence[FrameLog], bank: FrameBank, seconds: float) -> dict[str, object]:
    """Return the figures of one run. Latencies are those of frames with detections, late ones included."""
    accuracy = bank.effective_ap([(log.frame_id - 1, seen(log)) for log in logs])
    totals = [log.total_ms for log in logs if log.total_ms is not None]
    p50, p95, p99 = np.percentile(totals, [50, 95, 99]).round(1).tolist() if totals else (None, None, None)
    sent = [log.payload_bytes for log in logs if log.payload_bytes]
    chosen = [log.point for log in logs if log.point is not None]
    return {
        "ap": accuracy.ap,
        "ap50": accuracy.ap50,
        "met_share": round(sum(map(_met, logs)) / len(logs), 4),
        "latency_ms_p50": p50,
        "latency_ms_p95": p95,
        "latency_ms_p99": p99,
        "kilobytes_mean": round(sum(sent) / len(sent) / 1000, 3) if sent else 0.0,
        "switches_per_min": round(60 * sum(a != b for a, b in pairwise(chosen)) / seconds, 1),
        "frames": dict(Counter(point.mode.value for point in chosen)),
        "in_part": sum(isinstance(seen(log), InPart) for log in logs),
        "outcomes": dict(Counter(log.outcome.value for log in logs)),
    }


def late_frames_after(logs: Sequence[FrameLog], moment: float) -> int:
    """Return how many frames that were in flight at a moment, or sent after it, came late before one was in time."""
    sent = [log for log in logs if log.payload_bytes and log.total_ms is not None]
    after = [log for log in sent if log.capture_time + (log.total_ms or 0.0) / 1000 > moment]
    late = [log.outcome is Outcome.LATE for log in after]
    first = late.index(True) if True in late[:3] else len(late)  # those still in time when it came
    return next((i for i, is_late in enumerate(late[first:]) if not is_late), len(late) - first)


def seconds_until_best(
    logs: Sequence[FrameLog], aps: Mapping[OperatingPoint, float], start: float, end: float
) -> float:
    """Return how long after start the chosen AP first reached 90 % of what it has in the second half until end."""
    chosen = [(log.chosen_at, aps[log.point]) for log in logs if log.point is not None and log.point.is_sent]
    settled = [ap for time, ap in chosen if (start + end) / 2 <= time < end]
    if not settled:
        return float("inf")
    goal = NEW_BEST_SHARE * float(np.median(settled))
    return next((time - start for time, ap in chosen if time >= start and ap >= goal), float("inf"))


def frames_until_width(logs: Sequence[FrameLog], start: float, end: float) -> int:
    """Return how many frames after start were encoded with another width than the usual one of the end."""
    widths = [(log.chosen_at, log.point.width) for log in logs if log.point is not None and log.payload_bytes]
    settled = [width for time, width in widths if (start + end) / 2 <= time < end]
    after = [width for time, width in widths if time >= start]
    if not settled:
        return len(after)
    goal = int(np.median(settled))
    return next((i for i, width in enumerate(after) if width <= goal), len(after))


def segments(logs: Sequence[FrameLog], worth: Callable[[Seen], float], length_s: float) -> list[float]:
    """Return what the frames of each piece of a run were worth on average; a last piece of under half counts with the
    one before.
    """
    pieces: dict[int, list[float]] = {}
    last = max(0, round(logs[-1].capture_time / length_s) - 1) if logs else 0
    for log in logs:
        pieces.setdefault(min(last, int(log.capture_time / length_s)), []).append(worth(seen(log)))
    return [float(np.mean(piece)) for piece in pieces.values()]


def seen(log: FrameLog) -> Seen:
    """Return how a frame was looked at in time."""
    if not _met(log) or log.point is None:
        return None
    return InPart(log.point, log.layers_used) if 0 < log.layers_used < log.layers else log.point


def _met(log: FrameLog) -> bool:
    return log.outcome is Outcome.MET
