"""The video benchmark as a figure: fidelity over bytes, a panel for each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.drawing import TEXT_SIZE, THEMES, Theme, save, stacked_panels, title
from benchmarks.video.video_figures import ALONE, OURS, curves_of

PANEL_IN = 3.0
# Of all that is measured, and what the legend calls it.
DRAWN = {
    OURS: "changes",
    ALONE: "split alone",
    "x264 veryfast": "x264 veryfast",
    "x265 ultrafast": "x265 ultrafast",
    "jpeg": "JPEG",
    "filtered split": "filtered split",
}
LEAST_KB = 0.012  # a frame; filters that send next to nothing reach further


def draw_video(out: Path, clips: Sequence[Mapping[str, Any]]) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        draw(out.with_name(f"{out.stem}-{name}.png"), clips, theme)


def draw(path: Path, clips: Sequence[Mapping[str, Any]], theme: Theme) -> None:
    """Write a figure: a panel for each clip, a line for each system."""
    figure, panels = stacked_panels([PANEL_IN] * len(clips), theme)
    palette = [theme.split, theme.soft, theme.image, theme.bad, theme.skip, theme.text]
    colours = dict(zip(DRAWN, palette, strict=True))
    for axes, clip in zip(panels, clips, strict=True):
        curves = curves_of(clip)
        for name in filter(curves.__contains__, DRAWN):
            curve = curves[name]
            sizes_kb = np.exp(curve.log_bytes) / 1000
            axes.plot(sizes_kb, curve.ap, color=colours[name], linewidth=2.0, marker="o", markersize=4)
        axes.set_xscale("log")
        axes.set_xlim(left=LEAST_KB)
        axes.set_ylabel("fidelity", color=theme.text, fontsize=TEXT_SIZE)
        title(
            axes,
            theme,
            clip["name"],
            [(DRAWN[name], colour) for name, colour in colours.items()] if axes is panels[0] else [],
        )
    panels[-1].set_xlabel("KB a frame", color=theme.text, fontsize=TEXT_SIZE)
    for axes in panels:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    save(figure, path)
