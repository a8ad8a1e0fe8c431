"""The tables of docs/training.md about kinds of encoders, from slimmable.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def kinds(result: Result) -> str:
    """Return the AP of every bundle at equal computation and bytes, and the ranges that each goes over."""
    names = [row["bundle"] for row in result["bundles"]]
    headings = [f"{row['kind']} (`{row['bundle']}`)" for row in result["bundles"]]
    header = f"| device MMACs | KB a frame | {' | '.join(headings)} |\n{'|---' * (2 + len(names))}|\n"
    rows = "".join(
        f"| {row['mmacs']:.0f} | {row['bytes'] / 1000:g} | {' | '.join(_ap(row[name]) for name in names)} |\n"
        for row in result["equal"]
    )
    unsplit = "" if result["unsplit_ap"] is None else f"; unsplit, AP {result['unsplit_ap']:.1f} on them"
    return f"{header}{rows}\n{result['images']} images{unsplit}.\n\n{_ranges(result)}"


def _ranges(result: Result) -> str:
    header = "| bundle | device MMACs | KB a frame | dominated points |\n|---|---|---|---|\n"
    return header + "".join(
        f"| {row['kind']} (`{row['bundle']}`) | {row['mmacs_from']:.0f} to {row['mmacs_to']:.0f} "
        f"({row['mmacs_ratio']:.1f} times) | {row['bytes_from'] / 1000:.2f} to {row['bytes_to'] / 1000:.2f} "
        f"({row['bytes_ratio']:.1f} times) | {row['dominated']} |\n"
        for row in result["bundles"]
    )


def alone(result: Result) -> str:
    """Return what one training for all points loses to trainings for one point."""
    columns = ("trained alone", "for all", "device MMACs", "KB a frame", "AP alone", "AP for all", "loss")
    header = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    return header + "".join(
        f"| `{row['alone']}` | `{row['bundle']}` | {row['mmacs']:.0f} | {row['bytes'] / 1000:.2f} "
        f"| {row['ap_alone']:.1f} | {_ap(row['ap'])} | {_ap(row['loss'])} |\n"
        for row in result["alone"]
    )


def _ap(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
