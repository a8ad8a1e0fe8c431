"""The kinds benchmark as a figure: accuracy over bytes, a panel for each cost of the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accuracy.kinds_figures import Split
from benchmarks.harness.drawing import TEXT_SIZE, THEMES, Theme, save, stacked_panels, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 2.6


def draw_kinds(out: Path, splits: Sequence[Split]) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        draw(out.with_name(f"{out.stem}-{name}.png"), splits, theme)


def draw(path: Path, splits: Sequence[Split], theme: Theme) -> None:
    """Write a figure: a panel for each cost of the first split's widths, a line for each split."""
    costs = splits[0].mmacs
    figure, panels = stacked_panels([PANEL_IN] * len(costs), theme)
    colours = dict(zip((split.name for split in splits), _colours(theme) * len(splits), strict=False))
    for axes, mmacs in zip(panels, costs, strict=True):
        for split in splits:
            _draw_line(axes, split, mmacs, colours[split.name])
        axes.set_ylabel("AP", color=theme.text, fontsize=TEXT_SIZE)
        legend = [(split.name, colours[split.name]) for split in splits] if axes is panels[0] else []
        title(axes, theme, f"Up to {mmacs:.0f} million multiply-accumulates", legend)
    panels[-1].set_xscale("log")
    panels[-1].set_xlabel("KB a frame", color=theme.text, fontsize=TEXT_SIZE)
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[-1].xaxis.set_minor_formatter(lambda value, _: "")
    save(figure, path)


def _colours(theme: Theme) -> list[str]:
    return [theme.split, theme.image, theme.local, theme.bad, theme.skip]


def _draw_line(axes: Axes, split: Split, mmacs: float, colour: str) -> None:
    curve = split.curve(mmacs)
    if curve is not None:
        axes.plot(np.exp(curve.log_bytes) / 1000, curve.ap, color=colour, linewidth=2.0, marker="o", markersize=5)
