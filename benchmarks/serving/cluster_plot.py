"""The simulation of the cluster benchmark as a figure: cameras over replicas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.drawing import THEMES, Theme, save, stacked_panels, title

Result = Mapping[str, Any]


def draw_cluster(out: Path, result: Result) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        draw(out.with_name(f"{out.stem}-{name}.png"), result, theme)


def draw(path: Path, result: Result, theme: Theme) -> None:
    """Write a figure, 1200 pixels wide, of what `cluster.run` has returned."""
    figure, (panel,) = stacked_panels((4.0,), theme)
    replicas = [row["replicas"] for row in result["simulated"]]
    cameras = [row["cameras"] for row in result["simulated"]]
    panel.plot(replicas, cameras, color=theme.split, marker="o", linewidth=2)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xlabel("replicas")
    panel.set_ylabel("cameras of 5 frames a second")
    title(panel, theme, "Cameras that one front daemon and its replicas carry (simulated)")
    save(figure, path)
