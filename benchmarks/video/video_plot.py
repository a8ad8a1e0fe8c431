"""The video benchmark as a figure: fidelity over bytes, a panel for each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.drawing import TEXT_SIZE, THEMES, Theme, save, stacked_panels, title
from benchmarks.video.video_figures import curves_of

PANEL_IN = 3.0


def draw_video(out: Path, clips: Sequence[Mapping[str, Any]]) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        draw(out.with_name(f"{out.stem}-{name}.png"), clips, theme)


def draw(path: Path, clips: Sequence[Mapping[str, Any]], theme: Theme) -> None:
    """Write a figure: a panel for each clip, a line for each system."""
    figure, panels = stacked_panels([PANEL_IN] * len(clips), theme)
    names = list(dict.fromkeys(row["system"] for clip in clips for row in clip["rows"]))
    palette = [theme.split, theme.local, theme.image, theme.bad, theme.skip, theme.text, theme.soft]
    colours = dict(zip(names, palette, strict=False))
    for axes, clip in zip(panels, clips, strict=True):
        for name, curve in curves_of(clip).items():
            sizes_kb = np.exp(curve.log_bytes) / 1000
            axes.plot(sizes_kb, curve.ap, color=colours[name], linewidth=2.0, marker="o", markersize=4)
        axes.set_xscale("log")
        axes.set_ylabel("fidelity", color=theme.text, fontsize=TEXT_SIZE)
        title(axes, theme, clip["name"], list(colours.items()) if axes is panels[0] else [])
    panels[-1].set_xlabel("KB a frame", color=theme.text, fontsize=TEXT_SIZE)
    for axes in panels:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    save(figure, path)
