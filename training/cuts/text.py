"""The figures of a detector's cuts as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.cuts.figures import CutStudy, cut_from_json, recommend


def as_text(record: Mapping[str, Any], device_mmacs: float = 0.0, size_bytes: float = 0.0) -> str:
    """Return figures as a table, and a recommendation for a device's MMACs and bytes a frame; 0: any."""
    cuts = [cut_from_json(cut) for cut in record["cuts"]]
    unsplit = record["unsplit"]
    lines = [f"unsplit, uncompressed: AP {unsplit['ap']:.1f}, AP50 {unsplit['ap50']:.1f}", "", *_cut_lines(cuts)]
    lines += ["", f"{'cut':<6} {'energy':>7} {'step':>5} {'KB':>7} {'p90':>7} {'AP':>6} {'AP50':>6}"]
    for cut in cuts:
        for p in sorted(cut.points, key=lambda point: point.bytes_mean):
            sizes = f"{p.bytes_mean / 1e3:7.2f} {p.bytes_p90 / 1e3:7.2f}"
            lines.append(f"{cut.cut:<6} {p.energy:7.0%} {p.step:5g} {sizes} {p.ap:6.1f} {p.ap50:6.1f}")
    return "\n".join([*lines, "", recommendation(cuts, device_mmacs, size_bytes)])


def _cut_lines(cuts: Sequence[CutStudy]) -> list[str]:
    lines = [f"{'cut':<6} {'sent':<8} {'shape':<13} {'MMACs before':>12} {'after':>8}   components for 90/95/99 %"]
    for cut in cuts:
        for i, tensor in enumerate(cut.tensors):
            name, macs = (cut.cut, f"{cut.mmacs_before:12.1f} {cut.mmacs_after:8.1f}") if i == 0 else ("", " " * 21)
            shape = "x".join(map(str, tensor.shape))
            lines.append(f"{name:<6} {tensor.name:<8} {shape:<13} {macs}   {_components(tensor.components)}")
    return lines


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
