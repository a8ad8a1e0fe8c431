"""Tables of docs/groups.md about a classifier that is shared out, from group.json and group-trained.json. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.groups.device_tables import DASH

Result = Mapping[str, Any]


def group_classification(result: Result) -> str:
    """Return what each way of using the devices gives while all of them are there, and what it takes."""
    header = (
        "| method | devices | accuracy, % | parameters of a device | MMACs of a device | sent, bytes "
        "| network alone, ms p50 |\n|---|---|---|---|---|---|---|\n"
    )
    whole = [row for row in result["rows"] if row["lost"] == 0 and row["parameters_per_device"] is not None]
    return header + "".join(map(_whole, whole))


def group_networks(result: Result) -> str:
    """Return what the network of a device takes in groups of several sizes."""
    header = "| parts | parameters of a device | MMACs | ms p50, one core |\n|---|---|---|---|\n"
    return header + "".join(
        f"| {row['parts']} | {row['parameters_per_device']:,} | {row['mmacs_per_device']:.1f} "
        f"| {row['latency_ms']:.2f} |\n"
        for row in result["networks"]
    )


def group_features(result: Result) -> str:
    """Return for each rule what is left of the teacher with none and with one part lost, by what fills it in."""
    rows = [row for row in result["rows"] if row["method"].startswith("features, ")]
    header = (
        "| rule | parts | filters | none lost | one lost: closed form (worst) | network | mean |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    places = dict.fromkeys((row["method"], row["devices"]) for row in rows)
    return header + "".join(_feature_row([r for r in rows if (r["method"], r["devices"]) == one]) for one in places)


def _feature_row(rows: Sequence[Result]) -> str:
    none = next(row for row in rows if row["lost"] == 0)
    one = {row["filled_by"]: row for row in rows if row["lost"] == 1}
    closed = f"{one['closed form']['accuracy']:.1f} ({one['closed form']['worst']:.1f})"
    rule = none["method"].removeprefix("features, ")
    others = f"{one['network']['accuracy']:.1f} | {one['mean']['accuracy']:.1f}"
    return f"| {rule} | {none['devices']} | {none['filters']} | {none['accuracy']:.1f} | {closed} | {others} |\n"


def group_filled(result: Result) -> str:
    """Return the accuracy with devices lost: the mean over all sets of them, and the worst one."""
    rows = [row for row in result["rows"] if row.get("worst") is not None and row["latency_ms"] and row["devices"] > 1]
    if not rows:
        return "Not measured yet: no group has been trained.\n"
    header = "| method | devices | lost | filled in by | accuracy, % | worst set |\n|---|---|---|---|---|---|\n"
    return header + "".join(map(_lost, rows))


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
