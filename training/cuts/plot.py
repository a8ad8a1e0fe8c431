"""The cuts of a detector as an image: accuracy over bytes, a curve a cut, its colour what the cut costs the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from splitnet.errors import ConfigError
from training.cuts.figures import CutPoint, CutStudy, cut_from_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm

SIZE_IN, DPI = (10.0, 6.0), 120
TEXT_SIZE = 11.0
COLOURS = "viridis"


class Page(NamedTuple):
    """Colours of the page that an image is shown on, and the part of COLOURS that stands out from it."""

    background: str
    text: str
    faint: str
    colours: tuple[float, float]


PAGES: Mapping[str, Page] = {
    "light": Page("#ffffff", "#24292f", "#d5dae0", (0.0, 0.85)),
    "dark": Page("#0d1117", "#d6dde5", "#30363d", (0.3, 1.0)),
}


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def draw_study(out: Path, record: Mapping[str, Any]) -> list[Path]:
    """Write FILE-light.png and FILE-dark.png beside FILE.json; returns their paths. ConfigError without matplotlib."""
    if not can_draw():
        raise ConfigError("the plot needs matplotlib: install the extra [demo]")
    paths = [out.with_name(f"{out.stem}-{name}.png") for name in PAGES]
    for path, page in zip(paths, PAGES.values(), strict=True):
        _draw(path, record, page)
    return paths


def best_points(points: Sequence[CutPoint]) -> list[CutPoint]:
    """Return the points that no other beats with fewer bytes, by bytes."""
    best: list[CutPoint] = []
    for point in sorted(points, key=lambda p: (p.bytes_mean, -p.ap)):
        if not best or point.ap > best[-1].ap:
            best.append(point)
    return best


def _draw(path: Path, record: Mapping[str, Any], page: Page) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.figure import Figure

    cuts = [cut_from_json(cut) for cut in record["cuts"]]
    figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained", facecolor=page.background)
    axes = figure.subplots()
    _dress(axes, page)
    first, last = page.colours
    colours = ListedColormap([colormaps[COLOURS](first + (last - first) * i / 255) for i in range(256)])
    costs = [cut.mmacs_before for cut in cuts]
    norm = LogNorm(min(costs) / 1.01, max(costs) * 1.01)
    for cut in cuts:
        _draw_cut(axes, cut, colours, norm)
    axes.axhline(record["unsplit"]["ap"], color=page.text, linewidth=1.0, linestyle=(0, (5, 4)))
    axes.set_title(_title(record), loc="left", color=page.text, fontsize=12.5, fontweight="bold", pad=8)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.02, aspect=30, format="{x:g}")
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", colors=page.text, labelcolor=page.text, labelsize=TEXT_SIZE)
    bar.set_label("MMACs on the device, a 4:3 frame", color=page.text, fontsize=TEXT_SIZE)
    bar.set_ticks(sorted({round(cost) for cost in costs}))
    bar.minorticks_off()
    figure.savefig(path, facecolor=figure.get_facecolor())


def _title(record: Mapping[str, Any]) -> str:
    return f"AP of {record['model']} cut at each point, without training; {record['images']} images (dashed: unsplit)"


def _dress(axes: Axes, page: Page) -> None:
    axes.set_facecolor(page.background)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(page.faint)
    axes.grid(color=page.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=page.text, labelcolor=page.text, labelsize=TEXT_SIZE, length=0, pad=5)
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100, 200])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("KB a frame, mean", color=page.text, fontsize=TEXT_SIZE)
    axes.set_ylabel("AP", color=page.text, fontsize=TEXT_SIZE)


def _draw_cut(axes: Axes, cut: CutStudy, colours: Any, norm: LogNorm) -> None:
    """Draw the best points of a cut as a curve with its name at the upper end, and the others as faint dots."""
    colour = colours(norm(cut.mmacs_before))
    best = best_points(cut.points)
    axes.plot([p.bytes_mean / 1e3 for p in best], [p.ap for p in best], "o-", color=colour, linewidth=2, markersize=5)
    rest = [point for point in cut.points if point not in best]
    axes.scatter([p.bytes_mean / 1e3 for p in rest], [p.ap for p in rest], s=14, color=colour, alpha=0.4, linewidths=0)
    end = best[-1].bytes_mean / 1e3, best[-1].ap
    style: dict[str, Any] = {"color": colour, "fontsize": TEXT_SIZE, "fontweight": "bold", "ha": "left", "va": "center"}
    axes.annotate(cut.cut, end, xytext=(7, 0), textcoords="offset points", **style)
