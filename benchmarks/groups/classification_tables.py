"""Tables of docs/groups.md about a classifier that is shared out, from group.json. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.groups.device_tables import DASH

Result = Mapping[str, Any]


def group_classification(result: Result) -> str:
    """Return what each way of using the devices gives while all of them are there, and what it takes."""
    header = (
        "| method | devices | accuracy, % | parameters of a device | MMACs of a device | sent, bytes "
        "| network alone, ms p50 |\n|---|---|---|---|---|---|---|\n"
    )
    return header + "".join(_whole(row) for row in result["rows"] if row["lost"] == 0)


def group_filled(result: Result) -> str:
    """Return the accuracy with devices lost: the mean over all sets of them, and the worst one."""
    header = "| method | devices | lost | filled in by | accuracy, % | worst set |\n|---|---|---|---|---|---|\n"
    return header + "".join(_lost(row) for row in result["rows"] if row["devices"] > 1 and row.get("worst") is not None)


def _whole(row: Result) -> str:
    latency = DASH if row["latency_ms"] is None else f"{row['latency_ms']:.2f}"
    costs = f"{row['parameters_per_device']:,} | {row['mmacs_per_device']:.1f} | {row['bytes_sent']:,.0f} | {latency}"
    return f"| {row['method']} | {row['devices']} | {row['accuracy']:.1f} | {costs} |\n"


def _lost(row: Result) -> str:
    filled = row.get("filled_by", "the others' mean") if row["lost"] else DASH
    return (
        f"| {row['method']} | {row['devices']} | {row['lost']} | {filled} "
        f"| {row['accuracy']:.1f} | {row['worst']:.1f} |\n"
    )
