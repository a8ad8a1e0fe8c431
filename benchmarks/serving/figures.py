"""The figures of a server under load, from what became of every frame. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.serving.load import Load, Tally

Row = Mapping[str, Any]


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 if all are equal, 1/n if one has it all. 1 if nobody has anything.

    (sum x)^2 / (n * sum x^2): Jain, Chiu, Hawe, "A quantitative measure of fairness", DEC-TR-301, 1984.
    """
    square = sum(share**2 for share in shares)
    return sum(shares) ** 2 / (len(shares) * square) if square else 1.0


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile, or None of nothing."""
    return float(np.percentile(values, percent)) if values else None


def fairness(tallies: Sequence[Tally], deadline_ms: float) -> float:
    """Return Jain's index over the share of each device's own frames that were in time.

    Devices that have sent nothing do not count. Of a few frames each, shares are coarse, and the index is lower.
    """
    return jain([tally.good(deadline_ms) / tally.sent for tally in tallies if tally.sent])


def summary(tallies: Sequence[Tally], load: Load) -> dict[str, object]:
    """Return the figures of one run over all its devices."""
    good = [tally.good(load.deadline_ms) for tally in tallies]
    latencies, overheads, waits, acks, lags = (
        [one for tally in tallies for one in getattr(tally, name)]
        for name in ("latencies_ms", "overheads_ms", "waits_ms", "acks_ms", "lags_ms")
    )
    sent = sum(tally.sent for tally in tallies)
    refused = refusals(tallies)
    return {
        "sent_per_s": sent / load.seconds,
        "goodput_per_s": sum(good) / load.seconds,
        "in_time": sum(good) / sent if sent else None,
        "latency_ms_p50": percentile(latencies, 50),
        "latency_ms_p99": percentile(latencies, 99),
        "wait_ms_p50": percentile(waits, 50),
        "overhead_ms_p50": percentile(overheads, 50),
        "ack_ms_p50": percentile(acks, 50),
        "late": len(latencies) - sum(good),
        "shed": refused["RESOURCE_EXHAUSTED"],
        "expired": refused["DEADLINE_EXCEEDED"],
        "failed": refused.total() - refused["RESOURCE_EXHAUSTED"] - refused["DEADLINE_EXCEEDED"],
        "unanswered": sent - len(latencies) - refused.total(),
        "jain": fairness(tallies, load.deadline_ms),
        "generator_lag_ms_p99": percentile(lags, 99),
    }


def refusals(tallies: Sequence[Tally]) -> Counter[str]:
    """Return how many frames were refused, by status."""
    return sum((tally.refused for tally in tallies), Counter[str]())


def phase(name: str, tallies: Sequence[Tally], begin_s: float, end_s: float, deadline_ms: float) -> dict[str, object]:
    """Return what became of the frames between two moments."""
    parts = [tally.between(begin_s, end_s) for tally in tallies]
    sent = sum(count for count, _ in parts)
    latencies = [latency for _, some in parts for latency in some]
    in_time = sum(latency <= deadline_ms for latency in latencies)
    return {
        "phase": name,
        "seconds": max(0.0, end_s - begin_s),
        "sent": sent,
        "not_in_time": sent - in_time,
        "latency_ms_p99": percentile(latencies, 99),
        "latency_ms_max": max(latencies, default=None),
    }


def against_bare(goodputs: Sequence[float], bare: Sequence[float]) -> dict[str, float]:
    """Return goodputs of several rounds as shares of what the bare model gave just before and after each.

    bare: its frames a second before the first round and after every one. Machines drift, neighbours drift less.
    """
    near = [(before + after) / 2 for before, after in pairwise(bare)]
    shares = [goodput / one for goodput, one in zip(goodputs, near, strict=True)]
    return {
        "share_of_bare": fmean(shares),
        "share_of_bare_min": min(shares),
        "share_of_bare_max": max(shares),
        "bare_frames_per_s": fmean(near),
    }


def verdict(loads: Sequence[Row]) -> dict[str, object]:
    """Return how near the batching server comes to the limit, and how little it loses beyond it."""
    rows = sorted((row for row in loads if row["server"] == "batching"), key=lambda row: float(row["load"]))
    peak = max(row["share_of_bare"] for row in rows)
    most = rows[-1]
    return {
        "peak_share_of_bare": peak,
        "share_of_peak_at_highest_load": most["share_of_bare"] / peak if peak else None,
        "latency_ms_p99_at_highest_load": most["latency_ms_p99"],
    }
