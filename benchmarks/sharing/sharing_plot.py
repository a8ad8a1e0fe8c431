"""The sharing benchmark as figures: what each measure predicts, and what is lost for what is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.drawing import DPI, TEXT_SIZE, THEMES, WIDTH_IN, Theme, dress, save, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = ("common ancestor", "same family", "across families", "control")
SHOWN = ("r2", "cka", "scores_explained", "tail_agreement")


def draw(out: Path, record: Mapping[str, Any]) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        save(_figure(record, theme), out.with_name(f"{out.stem}-{name}.png"))


def _figure(record: Mapping[str, Any], theme: Theme) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, 9.0), dpi=DPI, layout="constrained", facecolor=theme.page)
    panels = figure.subplots(3, 2)
    colours = dict(zip(GROUPS, (theme.split, theme.local, theme.image, theme.skip), strict=True))
    for axes, metric in zip(panels[:2].ravel(), SHOWN, strict=True):
        dress(axes, theme)
        _scatter(axes, record["merges"], metric, colours, theme)
    for axes, key in zip(panels[2], ("bytes_saved", "mmacs_saved"), strict=True):
        dress(axes, theme)
        _saved(axes, record["merges"], key, colours, theme)
    title(panels[0][1], theme, "", [(group, colours[group]) for group in GROUPS])
    return figure


def _scatter(
    axes: Axes, merges: Sequence[Mapping[str, Any]], metric: str, colours: Mapping[str, str], theme: Theme
) -> None:
    for group, colour in colours.items():
        own = [row for row in merges if row["group"] == group and row["similarity"].get(metric) is not None]
        axes.scatter([row["similarity"][metric] for row in own], [row["ap_kept"] for row in own], s=22, color=colour)
    axes.set_xlabel(metric.replace("_", " "), color=theme.text, fontsize=TEXT_SIZE)
    axes.set_ylabel("AP kept, %", color=theme.text, fontsize=TEXT_SIZE)


def _saved(axes: Axes, merges: Sequence[Mapping[str, Any]], key: str, colours: Mapping[str, str], theme: Theme) -> None:
    scale = 1e6 if key == "bytes_saved" else 1.0
    for group, colour in colours.items():
        own = [row for row in merges if row["group"] == group and group != "control"]
        axes.scatter([row[key] / scale for row in own], [row["ap_loss"] for row in own], s=22, color=colour)
    words = "MB of weights saved" if key == "bytes_saved" else "MMACs saved where both look"
    axes.set_xlabel(words, color=theme.text, fontsize=TEXT_SIZE)
    axes.set_ylabel("AP lost", color=theme.text, fontsize=TEXT_SIZE)
