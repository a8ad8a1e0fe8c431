"""The summary that the demo prints at its end, and keeps as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.report import table
from demo.answers import Answer, frames_with, point_rows
from demo.results import SHOWN
from splitnet.environment import environment
from splitnet.manifest import Manifest

NAMES_SHOWN = 5  # kinds of objects in a cell of the table
COLUMNS = {
    "point": "point",
    "frames": "frames",
    "kilobytes_p50": "KB",
    "encode_ms_p50": "encode ms",
    "end_to_end_ms_p50": "end-to-end ms",
    "overhead_ms_p50": "overhead ms",
    "found": "found in frames",
}


def summarise(
    manifest: Manifest, answers: Sequence[Answer], points: Sequence[str], frames: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the run as a JSON object. frames: what the client has counted."""
    return {
        "bundle": {"name": manifest.name, "digest": manifest.digest},
        "frames": dict(frames),
        "found": dict(frames_with(answers).most_common()),
        "points": point_rows(answers, points),
        **environment(),
    }


def as_text(summary: Mapping[str, Any], folder: Path) -> str:
    """Return the table, what became of the frames and where the results lie."""
    blocks = [point_table(summary["points"])] if summary["points"] else []
    if changes := summary.get("changes"):
        blocks.append(f"a camera that rests, one thing moves through the scene\n{table(changes)}")
    if adapting := summary.get("adapting"):
        heading = f"the same with a deadline of {adapting['deadline_ms']} ms, each frame's point chosen for it"
        blocks.append(f"{heading}\n{table(adapting['phases'])}")
    lines = {
        "frames": _counts(summary["frames"]),
        "found in frames": counted(summary["found"]),
        **{says: str(folder / name) for name, says in SHOWN.items() if (folder / name).exists()},
    }
    width = max(map(len, lines))
    blocks.append("\n".join(f"{name:<{width}}  {value}" for name, value in lines.items()))
    return "\n\n".join(blocks)


def point_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of all operating points as a table for people; the numbers are medians."""
    cells = [{**row, "found": counted(row["found"])} for row in rows]
    return table([{heading: row[key] for key, heading in COLUMNS.items()} for row in cells])


def counted(names: Mapping[str, int]) -> str:
    """Return the first names with their counts: "person 10, cat 5"."""
    return ", ".join(f"{name} {count}" for name, count in list(names.items())[:NAMES_SHOWN]) or "nothing"


def _counts(frames: Mapping[str, Any]) -> str:
    """Return "150 captured, 148 answered, 2 overtaken", without what did not happen."""
    counts = {name: sum(count.values()) if isinstance(count, dict) else count for name, count in frames.items()}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
