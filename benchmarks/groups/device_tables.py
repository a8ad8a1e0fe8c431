"""Tables of docs/groups.md about devices and detection, from group-devices.json and group-detection.json. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

DASH = "-"


def group_devices(result: Result) -> str:
    """Return what a device of each group takes, while all of them are there."""
    whole = [row for row in result["rows"] if row["lost"] == 0]
    header = _header(
        "group",
        "devices",
        "parameters",
        "MMACs",
        "on disk, KB",
        "memory over an empty process, MB",
        "sent per device, bytes",
        "encode ms p50",
        "answer ms p50",
        "p95",
    )
    return header + "".join(_line(_device(row)) for row in whole)


def _device(row: Result) -> list[str]:
    return [
        str(row["method"]),
        str(row["devices"]),
        f"{row['parameters_per_device']:,}",
        f"{row['mmacs_per_device']:g}",
        f"{row['bytes_on_disk'] / 1000:.0f}",
        f"{row['memory_over_empty_mb']:.0f}",
        f"{row['bytes_sent_per_device']:.0f}",
        f"{row['encode_ms_p50']:.1f}",
        f"{row['latency_ms']:.0f}",
        f"{row['latency_ms_p95']:.0f}",
    ]


def group_lost(result: Result) -> str:
    """Return what is left as devices are killed."""
    header = _header(
        "group", "devices", "killed", "frames", "parts used", "answered in time", "accuracy", "answer ms p50"
    )
    return header + "".join(_line(_lost(row)) for row in result["rows"])


def _lost(row: Result) -> list[str]:
    accuracy = DASH if row["accuracy"] is None else f"{row['accuracy']:.1f} %"
    in_time = row["frames"] - row["late"]
    names = (row["method"], row["devices"], row["lost"], row["frames"])
    parts = f"{row['parts_used_mean']:.1f} of {row['devices'] - row['lost']}"
    return [*map(str, names), parts, f"{100 * in_time / row['frames']:.1f} %", accuracy, f"{row['latency_ms']:.0f}"]


def group_joins(result: Result) -> str:
    """Return what joining costs the server."""
    header = _header("devices", "joining a frame, ms p50", "p99")
    rows = [[str(row["devices"]), f"{row['join_ms_p50']:.3f}", f"{row['join_ms_p99']:.3f}"] for row in result["joins"]]
    return header + "".join(map(_line, rows))


def group_detection(result: Result) -> str:
    """Return a group that detects beside the front on one device."""
    header = _header("way", "devices", "lost", "MMACs per device", "bytes a frame", "AP", "AP50")
    return header + "".join(_line(_detection(row)) for row in result["rows"])


def _detection(row: Result) -> list[str]:
    lost = f"{row['lost']} ({row['lost_parts']})" if row["lost"] else "0"
    return [
        f"{row['method']}, quality {row['quality']}",
        str(row["devices"]),
        lost,
        f"{row['mmacs_per_device']:.1f}",
        f"{row['bytes_sent']:,.0f}",
        f"{row['accuracy']:.1f}",
        f"{row['ap50']:.1f}",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _header(*names: str) -> str:
    return _line(names) + "|---" * len(names) + "|\n"


def group_regions(result: Result) -> str:
    """Return what a picture shared out by place finds, beside one device with all of it."""
    header = _header("way", "devices", "lost", "MMACs per device", "bytes a frame", "AP", "AP50")
    rows = "".join(_line(_region(row)) for row in result["rows"])
    return f"{header}{rows}\n{result['images']} images, bundle {result['bundle']}.\n"


def _region(row: Result) -> list[str]:
    return [
        row["method"],
        str(row["devices"]),
        str(row["lost"]),
        f"{row['mmacs_per_device']:.0f}",
        f"{row['bytes_sent']:,.0f}",
        f"{row['accuracy']:.1f}",
        f"{row['ap50']:.1f}",
    ]
