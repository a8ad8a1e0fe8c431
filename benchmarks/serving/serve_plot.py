"""The serve benchmark as a figure: goodput and latency over the load, with batching and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.drawing import TEXT_SIZE, THEMES, Theme, save, stacked_panels, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHTS_IN = (3.6, 2.4)

Result = Mapping[str, Any]
Row = Mapping[str, Any]


def draw_serve(out: Path, result: Result) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        draw(out.with_name(f"{out.stem}-{name}.png"), result, theme)


def draw(path: Path, result: Result, theme: Theme) -> None:
    """Write a figure, 1200 pixels wide, of what `serve.run` has returned."""
    figure, (goodput, latency) = stacked_panels(HEIGHTS_IN, theme)
    servers = {"batching": theme.split, "batching off": theme.image}
    rows = {name: lines(result["loads"], name) for name in servers}
    for name, colour in servers.items():
        shares = [100 * row["share_of_bare"] for row in rows[name]]
        goodput.plot([row["load"] for row in rows[name]], shares, color=colour, **_LINE)
        answered = [row for row in rows[name] if row["latency_ms_p99"] is not None]
        x, y = [row["load"] for row in answered], [row["latency_ms_p99"] for row in answered]
        latency.plot(x, y, color=colour, **_LINE)
    _draw_limits(goodput, 100.0, "the bare model, best batch size, %", theme)
    _draw_limits(latency, result["deadline_ms"], "deadline", theme)
    legend = list(servers.items())
    title(
        goodput,
        theme,
        f"Answered in time, % of what the bare model computes, {result['devices']} devices",
        legend,
    )
    title(latency, theme, "Latency of what was answered, ms, 99th percentile")
    latency.set_xlabel("frames sent, as a share of what the bare model computes", color=theme.text, fontsize=TEXT_SIZE)
    latency.set_xlim(left=0)
    save(figure, path)


def lines(rows: Sequence[Row], server: str) -> list[Row]:
    """Return one server's rows by load."""
    return sorted((row for row in rows if row["server"] == server), key=lambda row: float(row["load"]))


def _draw_limits(axes: Axes, height: float, words: str, theme: Theme) -> None:
    """Draw a line that is named at its left end."""
    axes.axhline(height, color=theme.text, linewidth=1.0, linestyle=(0, (5, 4)))
    axes.annotate(
        f"{words}: {height:.3g}",
        (0.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(4, 5),
        textcoords="offset points",
        color=theme.text,
        fontsize=TEXT_SIZE,
    )
    axes.set_ylim(0, 1.18 * max(axes.get_ylim()[1], height))


_LINE: dict[str, Any] = {"linewidth": 2.0, "marker": "o", "markersize": 5.0}
