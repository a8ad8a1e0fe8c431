"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.adaptation.tables import markdown_table

Result = Mapping[str, Any]


def by_clip(result: Result) -> str:
    """Return what each way gives on each clip and link: fidelity, frames in time, KB of a frame that is sent."""
    policies = list(dict.fromkeys(row["policy"] for row in result["runs"]))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in result["runs"]:
        cell = f"{row['fidelity']:.1f}, {100 * row['met_share']:.0f} %, {row['kilobytes_mean']:.1f}"
        rows.setdefault((row["clip"], row["trace"]), {})[row["policy"]] = cell
    cells = [(*run, *(found.get(policy, "-") for policy in policies)) for run, found in rows.items()]
    return (
        f"{markdown_table(('clip', 'link', *policies), cells)}\n"
        f"{result['seconds']:g} s of each link's second half, {result['fps']:g} frames a second, "
        f"{result['deadline_ms']:g} ms, a device {result['slowdown']:g} times slower, bundle {result['bundle']}.\n"
    )


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {"adapt-video": ("adapt-video.json", by_clip)}
