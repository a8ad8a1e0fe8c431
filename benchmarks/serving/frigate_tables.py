"""Figures of `benchmarks frigate` as a table for the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("link", "requests", "in time", "server", "device", "late, device", "nobody", "ms p50", "p99", "most")
KEYS = ("by_server", "by_device", "by_rescue", "by_nobody")


def frigate(result: Mapping[str, Any]) -> str:
    """Return who has answered how many requests, and in what time."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in result["phases"]:
        counts = [row[key] for key in ("requests", "in_time", *KEYS)]
        times = [f"{row[key]:.0f}" for key in ("ms_p50", "ms_p99", "ms_max")]
        lines.append(f"| {' | '.join(map(str, (row['phase'], *counts, *times)))} |")
    points = ", ".join(
        f"{one['frames']} by `{one['point']}` of {one['kilobytes_mean']:.1f} KB" for one in _most_used(result)
    )
    lines += [
        "",
        f"{result['in_time']:,} of {result['requests']:,} requests were answered within {result['timeout_ms']} ms; the "
        f"plug-in had to begin anew {result['restarts']} times. The endpoint itself adds {result['own_ms_p50']:.1f} ms "
        f"(p50; p99 {result['own_ms_p99']:.1f}) to what the pipeline takes. A tensor has "
        f"{result['tensor_bytes'] / 1000:.0f} KB; most were sent so: {points}.",
    ]
    return "\n".join(lines) + "\n"


def _most_used(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    sent = [one for one in result["points"] if one["kilobytes_mean"]]
    return sorted(sent, key=lambda one: -one["frames"])[:2]
