"""The update benchmark as a figure: what is sent against what it is worth, a panel for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.drawing import DPI, TEXT_SIZE, THEMES, WIDTH_IN, Theme, dress, save, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN = "SlimSplit"
NAMED = ("dense delta, one step", "SVD of the delta", "deep partial updating", "FedPara")
PANEL_HEIGHT_IN = 3.6
LEAST_KB, MOST_KB = 4, 400


def draw(out: Path, record: Mapping[str, Any]) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        save(_figure(record["rows"], theme), out.with_name(f"{out.stem}-{name}.png"))


def _figure(rows: Sequence[Mapping[str, Any]], theme: Theme) -> Figure:
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row["task"] for row in rows)) or [""]
    lines = -(-len(tasks) // 2)
    figure = Figure(figsize=(WIDTH_IN, PANEL_HEIGHT_IN * lines), dpi=DPI, layout="constrained", facecolor=theme.page)
    panels = figure.subplots(lines, 2, squeeze=False, sharey=True).ravel()
    colours = _colours(theme)
    for axes, task in zip(panels, tasks, strict=False):
        dress(axes, theme)
        _panel(axes, [row for row in rows if row["task"] == task], colours, theme)
        title(axes, theme, task)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    legend = [*colours.items(), ("others", theme.skip)]
    figure.legend(
        handles=[_handle(name, colour) for name, colour in legend],
        loc="outside upper center",
        ncols=3,
        frameon=False,
        labelcolor=theme.text,
        fontsize=TEXT_SIZE,
    )
    return figure


def _panel(axes: Axes, rows: Sequence[Mapping[str, Any]], colours: Mapping[str, str], theme: Theme) -> None:
    for method in sorted({row["method"] for row in rows}, key=lambda name: name == OWN):
        own = sorted((row["bytes"] / 1000, row["fidelity"]) for row in rows if row["method"] == method)
        front = _best_so_far(own)
        is_named = method in colours
        axes.plot(
            *zip(*front, strict=True),
            marker="o",
            markersize=5 if is_named else 3,
            linewidth=2.2 if method == OWN else 1.2 if is_named else 0.6,
            color=colours.get(method, theme.skip),
            zorder=3 if is_named else 2,
        )
    axes.set_xscale("log")
    axes.set_xlim(LEAST_KB, MOST_KB)
    axes.set_xticks([5, 10, 20, 50, 100, 200, 400], ["5", "10", "20", "50", "100", "200", "400"])
    axes.set_ylim(0, 101)
    axes.set_xlabel("kilobytes sent", color=theme.text, fontsize=TEXT_SIZE)
    axes.set_ylabel("fidelity, %", color=theme.text, fontsize=TEXT_SIZE)


def _best_so_far(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points, by size, that no smaller one is as good as."""
    front: list[tuple[float, float]] = []
    for size, fidelity in points:
        if not front or fidelity > front[-1][1]:
            front.append((size, fidelity))
    return front


def _colours(theme: Theme) -> dict[str, str]:
    return dict(zip((OWN, *NAMED), (theme.split, theme.image, theme.local, theme.bad, theme.soft), strict=True))


def _handle(name: str, colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker="o", label=name)
