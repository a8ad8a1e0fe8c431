"""The tables of docs/video.md, from video.json. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.video.video_figures import ALONE, OURS, THIRDS, ratios

Result = Mapping[str, Any]


def video(result: Result) -> str:
    """Return bytes and fidelity of every system at every setting, a table for each clip."""
    return "\n".join(_clip(clip) for clip in result["clips"])


def _clip(clip: Result) -> str:
    systems = dict.fromkeys(row["system"] for row in clip["rows"])
    header = "| system | device ms (CPU) | KB a frame -> fidelity |\n|---|---|---|\n"
    title = f"`{clip['name']}`, {clip['frames']} frames, {clip['objects']} objects in those that were judged:\n\n"
    return title + header + "".join(_system(name, [r for r in clip["rows"] if r["system"] == name]) for name in systems)


def _system(name: str, rows: list[Result]) -> str:
    ordered = sorted(rows, key=lambda row: float(row["bytes_mean"]))
    pairs = ", ".join(f"{_kb(row['bytes_mean'])} -> {row['fidelity']:.1f}" for row in ordered)
    times, busy = (sorted(row[key] for row in rows) for key in ("device_ms", "device_cpu_ms"))
    return f"| {name} | {times[0]:.1f} to {times[-1]:.1f} ({busy[0]:.1f} to {busy[-1]:.1f}) | {pairs} |\n"


def _kb(size_bytes: float) -> str:
    return f"{size_bytes / 1000:.3f}" if size_bytes < 200 else f"{size_bytes / 1000:.2f}"


def video_ratios(result: Result) -> str:
    """Return our bytes over each rival's at equal fidelity, for each third of the range that both reach."""
    header = (
        f"| clip | rival | fidelity | {' | '.join(f'{third} third' for third in THIRDS)} | all of it |\n{'|---' * 7}|\n"
    )
    return header + "".join(
        f"| `{row['clip']}` | {row['rival']} | {row['from']:.0f} to {row['to']:.0f} "
        f"| {' | '.join(_share(row[third]) for third in THIRDS)} | {_percent(row['bd_rate'])} |\n"
        for row in result["ratios"]
        if row["bd_rate"] is not None
    )


def consistency(result: Result) -> str:
    """Return a bundle's bytes over those of the one beside, at equal fidelity, as changes and as whole frames."""
    thirds = " | ".join(f"{third} third" for third in THIRDS)
    header = f"| clip | frames | fidelity | {thirds} | all of it |\n{'|---' * 7}|\n"
    return header + "".join(
        f"| `{clip['name']}` | {kind} | {row['from']:.0f} to {row['to']:.0f} "
        f"| {' | '.join(_share(row[third]) for third in THIRDS)} | {_percent(row['bd_rate'])} |\n"
        for clip in result["clips"]
        for kind, system in (("as changes", OURS), ("whole", ALONE))
        for row in _beside(clip, system)
    )


def _beside(clip: Result, system: str) -> list[Mapping[str, Any]]:
    """Return what a system's bytes are of those of the same system beside."""
    kept = [row for row in clip["rows"] if row["system"].startswith(system)]
    renamed = [{**row, "system": OURS if row["system"] == system else row["system"]} for row in kept]
    return [row for row in ratios({"name": clip["name"], "rows": renamed}) if row["rival"].startswith(f"{system} (")]


def delays(result: Result) -> str:
    """Return the fidelity of late answers, as they were and moved on."""
    clips = dict.fromkeys(row["clip"] for row in result["rows"])
    found = {(row["clip"], row["delay_ms"]): row for row in result["rows"]}
    times = sorted({row["delay_ms"] for row in result["rows"]})
    header = f"| clip | {' | '.join(f'{time} ms' for time in times)} |\n{'|---' * (1 + len(times))}|\n"
    return header + "".join(
        f"| `{clip}` | {' | '.join(_late(found[clip, time]) for time in times)} |\n" for clip in clips
    )


def _late(row: Result) -> str:
    return f"{row['as_it_was']:.1f}, moved on {row['moved_on']:.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0f} %"
