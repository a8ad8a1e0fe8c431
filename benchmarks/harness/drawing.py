"""The look of this project's figures: one set of colours, panels under one another, for light pages and dark ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitnet.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, DPI = 10.0, 120  # 1200 pixels
TITLE_SIZE, TEXT_SIZE = 12.5, 11.0


@dataclass(frozen=True)
class Theme:
    """Colours of a page, and on it. Okabe and Ito's, which everybody can tell apart, made lighter on black."""

    page: str
    text: str
    faint: str  # grids, and what is only background
    split: str
    soft: str  # a second line beside one in the colour of split
    image: str
    local: str
    skip: str
    bad: str  # late, lost

    def of_mode(self, mode: str | None) -> str:
        """Return the colour of a mode."""
        return {"split": self.split, "image": self.image, "local": self.local}.get(mode or "", self.skip)


LIGHT = Theme("#ffffff", "#24292f", "#d5dae0", "#0072b2", "#6fb1d6", "#e08a00", "#009e73", "#8c959f", "#d0103a")
DARK = Theme("#0d1117", "#d6dde5", "#30363d", "#56b4e9", "#2f6f99", "#f0a732", "#2ec79b", "#7d8590", "#ff5c7a")
THEMES = {"light": LIGHT, "dark": DARK}

# Several points of a mode in one figure.
SPLIT_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#999999")
IMAGE_COLOURS = ("#D55E00", "#E69F00")


def require_matplotlib() -> None:
    """Raise ConfigError if nothing can be drawn here."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ConfigError("the plot needs matplotlib: install the extra [demo], or leave --out away") from error


def colours(points: Sequence[str]) -> dict[str, str]:
    """Return a colour for each point; they repeat when there are more."""
    split = [point for point in points if point.startswith("w") and not point.startswith("webp")]
    images = [point for point in points if point not in split]
    chosen = {point: SPLIT_COLOURS[i % len(SPLIT_COLOURS)] for i, point in enumerate(split)}
    return chosen | {point: IMAGE_COLOURS[i % len(IMAGE_COLOURS)] for i, point in enumerate(images)}


def stacked_panels(heights_in: Sequence[float], theme: Theme) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels under one another that share their x axis."""
    from matplotlib.figure import Figure  # a second to load: not for --help
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.08, hspace=0.04)
    figure = Figure(figsize=(WIDTH_IN, sum(heights_in)), dpi=DPI, layout=layout, facecolor=theme.page)
    axes = figure.subplots(len(heights_in), 1, sharex=True, height_ratios=list(heights_in), squeeze=False)
    panels = [row[0] for row in axes]
    for panel in panels:
        dress(panel, theme)
    return figure, panels


def dress(axes: Axes, theme: Theme) -> None:
    """Give a panel its looks: no box, a faint grid, small text."""
    axes.set_facecolor(theme.page)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.faint)
    axes.grid(axis="y", color=theme.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.text, labelcolor=theme.text, labelsize=TEXT_SIZE, length=0, pad=5)


def title(axes: Axes, theme: Theme, text: str, legend: Sequence[tuple[str, str]] = ()) -> None:
    """Write what a panel shows above its left end, and above its right end what its colours mean: (words, colour)."""
    axes.set_title(text, loc="left", color=theme.text, fontsize=TITLE_SIZE, fontweight="bold", pad=8)
    place: dict[str, Any] = {"xycoords": "axes fraction", "xy": (1.0, 1.0), "xytext": (0, 8), "va": "baseline"}
    for words, colour in reversed(legend):
        style: dict[str, Any] = {"color": colour, "fontsize": TEXT_SIZE, "fontweight": "bold"}
        entry = axes.annotate(words, textcoords="offset points", ha="right", **style, **place)
        place = {"xycoords": entry, "xy": (0.0, 0.0), "xytext": (-14, 0), "va": "bottom"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that its name says."""
    figure.savefig(path, facecolor=figure.get_facecolor())
