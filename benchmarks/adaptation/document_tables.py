"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.adaptation import tables as adapt_tables

Result = Mapping[str, Any]


def _adapt(make: Callable[[Result], str]) -> Callable[[Result], str]:
    return lambda result: make(adapt_tables.renamed(result))


def _delivery(result: Result) -> str:
    rows = [(row["while"], str(row["frames"]), f"{100 * row['deadlines_met']:.1f} %") for row in result["phases"]]
    return (
        f"{adapt_tables.markdown_table(('while', 'frames', 'deadlines met'), rows)}\n"
        f"{result['rounds']} models of {result['kilobytes']:g} KB over {result['kbps']:g} kbit/s each way, "
        f"{result['download_s']:.0f} s each; {result['fps']:g} frames a second, deadline {result['deadline_ms']:g} ms, "
        f"bundle {result['bundle']}. The download costs {result['cost_points']:.1f} points{_with_switch(result)}.\n"
    )


def _with_switch(result: Result) -> str:
    """Return what all of an update costs, if that was measured."""
    points = result.get("cost_points_with_switch")
    return "" if points is None else f", with switch and trial {points:.1f}"


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "adapt": ("adapt.json", _adapt(adapt_tables.compared)),
    "adapt-pooled": ("adapt.json", adapt_tables.pooled),
    "adapt-devices": ("adapt.json", adapt_tables.by_device),
    "adapt-targets": ("adapt.json", adapt_tables.targets),
    "adapt-policies": ("adapt.json", _adapt(adapt_tables.policies)),
    "adapt-summary": ("adapt.json", _adapt(adapt_tables.summary)),
    "adapt-figures": ("adapt.json", _adapt(adapt_tables.figures)),
    "adapt-run": ("adapt.json", lambda result: adapt_tables.time_line(result, "results/")),
    "adapt-real": ("adapt-real.json", adapt_tables.real),
    "delivery": ("delivery.json", _delivery),
}
