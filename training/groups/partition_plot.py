"""A partition of a teacher's filters as a graph: light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import networkx
import numpy as np

from splitnet.errors import ConfigError
from training.cuts.plot import PAGES, TEXT_SIZE, Page, can_draw
from training.groups.partition import Floats, Parts, graph_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_IN, DPI = (10.0, 7.0), 80
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")


def draw_partition(out: Path, weights: Floats, parts: Parts, title: str, seed: int = 0) -> list[Path]:
    """Write OUT-light.png and OUT-dark.png; returns their paths. ConfigError without matplotlib.

    Only the filters that an edge is left of are drawn; those of no part are hollow.
    """
    if not can_draw():
        raise ConfigError("the plot needs matplotlib: install the extra [demo]")
    graph = graph_of(weights)
    places = networkx.spring_layout(graph, k=1.6 / max(1.0, np.sqrt(len(graph))), seed=seed, iterations=80)
    paths = []
    for theme, page in PAGES.items():
        path = out.with_name(f"{out.name}-{theme}.png")
        figure = _figure(graph, places, parts, title, page)
        figure.savefig(path, facecolor=figure.get_facecolor())
        paths.append(path)
    return paths


def _figure(graph: networkx.Graph, places: dict[int, Floats], parts: Parts, title: str, page: Page) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained", facecolor=page.background)
    axes = figure.subplots()
    axes.set_facecolor(page.background)
    axes.set_axis_off()
    for a, b in graph.edges:
        ends = np.array([places[a], places[b]])
        axes.plot(ends[:, 0], ends[:, 1], color=page.faint, linewidth=0.6, zorder=1)
    named = {one for part in parts for one in part}
    for number, part in enumerate(parts):
        _dots(axes, [places[one] for one in part if one in places], COLOURS[number % len(COLOURS)], filled=True)
        axes.plot([], [], "o", color=COLOURS[number % len(COLOURS)], label=f"part {number + 1}: {len(part)} filters")
    left_out = [places[one] for one in graph if one not in named]
    if left_out:
        _dots(axes, left_out, page.text, filled=False)
        axes.plot([], [], "o", markerfacecolor="none", color=page.text, label="left out")
    figure.legend(frameon=False, labelcolor=page.text, fontsize=TEXT_SIZE, loc="outside lower center", ncols=4)
    axes.set_title(title, loc="left", color=page.text, fontweight="bold")
    return figure


def _dots(axes: Axes, at: list[Floats], colour: str, filled: bool) -> None:
    if at:
        points = np.array(at)
        axes.scatter(
            points[:, 0], points[:, 1], s=34, zorder=2, edgecolors=colour, facecolors=colour if filled else "none"
        )
