"""The figures of a detector's cuts as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitnet.text_table import text_table
from training.cuts.figures import CutPoint, CutStudy, cut_from_json, recommend

CUT_COLUMNS = ("cut", "sent", "shape", "MMACs before", "after", "components for 90/95/99 %")
POINT_COLUMNS = ("cut", "energy", "step", "KB", "p90", "AP", "AP50")


def as_text(record: Mapping[str, Any], device_mmacs: float = 0.0, size_bytes: float = 0.0) -> str:
    """Return figures as a table, and a recommendation for a device's MMACs and bytes a frame; 0: any."""
    cuts = [cut_from_json(cut) for cut in record["cuts"]]
    unsplit = record["unsplit"]
    blocks = [
        f"unsplit, uncompressed: AP {unsplit['ap']:.1f}, AP50 {unsplit['ap50']:.1f}",
        text_table(CUT_COLUMNS, _cut_rows(cuts), left=("cut", "sent", "shape", CUT_COLUMNS[-1])),
        text_table(POINT_COLUMNS, _point_rows(cuts), left=("cut",)),
        recommendation(cuts, device_mmacs, size_bytes),
    ]
    return "\n\n".join(blocks)


def _cut_rows(cuts: Sequence[CutStudy]) -> list[tuple[str, ...]]:
    """Return a row for each tensor; what is said of a cut as a whole stands in its first one."""
    rows: list[tuple[str, ...]] = []
    for cut in cuts:
        name, before, after = cut.cut, f"{cut.mmacs_before:.1f}", f"{cut.mmacs_after:.1f}"
        for tensor in cut.tensors:
            shape = "x".join(map(str, tensor.shape))
            rows.append((name, tensor.name, shape, before, after, _components(tensor.components)))
            name = before = after = ""
    return rows


def _point_rows(cuts: Sequence[CutStudy]) -> list[tuple[str, ...]]:
    """Return a row for each measured point, those of a cut by their bytes."""
    return [_point_row(cut.cut, p) for cut in cuts for p in sorted(cut.points, key=lambda point: point.bytes_mean)]


def _point_row(cut: str, p: CutPoint) -> tuple[str, ...]:
    sizes = (f"{size / 1e3:.2f}" for size in (p.bytes_mean, p.bytes_p90))
    return (cut, f"{p.energy:.0%}", f"{p.step:g}", *sizes, f"{p.ap:.1f}", f"{p.ap50:.1f}")


def _components(components: Mapping[str, int]) -> str:
    return " / ".join(str(count) for count in components.values())


def recommendation(cuts: Sequence[CutStudy], device_mmacs: float = 0.0, size_bytes: float = 0.0) -> str:
    """Return in words what to choose for a device's MMACs and mean bytes a frame; 0: any."""
    limits = [f"{device_mmacs:g} MMACs"] * bool(device_mmacs) + [f"{size_bytes:g} bytes"] * bool(size_bytes)
    within = f"within {' and '.join(limits)} a frame" if limits else "whatever it costs"
    choice = recommend(cuts, device_mmacs or float("inf"), size_bytes or float("inf"))
    if choice is None:
        least = min((cut.mmacs_before for cut in cuts), default=0.0)
        smallest = min((point.bytes_mean for cut in cuts for point in cut.points), default=0.0)
        return f"nothing {within}: the cheapest cut takes {least:.1f} MMACs, the smallest point {smallest:.0f} bytes"
    point = choice.point
    kept = ", ".join(f"{count} components of {name}" for name, count in point.components.items())
    figures = f"AP {point.ap:.1f} at {point.bytes_mean / 1e3:.2f} KB for {choice.cut.mmacs_before:.1f} MMACs"
    return f"best {within}: cut behind {choice.cut.cut}, {kept}, step {point.step:g}: {figures}"
