"""A study of sharing as images: the plan as two columns of nodes, and how alike the detectors are, cut by cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cuts.plot import DPI, PAGES, TEXT_SIZE, Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARED, OWN = "#0072b2", "#8c959f"
METRICS = (
    ("r2", "R2 of the map", 1.0),
    ("cka", "CKA", 1.0),
    ("procrustes", "Procrustes", 1.0),
    ("r2_neck", "R2 of the neck", 1.0),
    ("scores_explained", "scores explained", 1.0),
    ("fidelity_unlabelled", "boxes in common", 1.0),
)


def draw_plan(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Write plan-light.png and plan-dark.png: each detector as its nodes, their height what they weigh."""
    return _both(folder, "plan", (10.0, 5.5), record, _plan)


def draw_similarity(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Write similarity-light.png and similarity-dark.png: merges by measures as a heat map."""
    height = 1.5 + 0.24 * len(record["merges"])
    return _both(folder, "similarity", (11.0, height), record, _similarity)


def _both(folder: Path, name: str, size: tuple[float, float], record: Mapping[str, Any], draw: Any) -> list[Path]:
    from matplotlib.figure import Figure

    paths = []
    for theme, page in PAGES.items():
        figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor=page.background)
        draw(figure, record, page)
        path = folder / f"{name}-{theme}.png"
        figure.savefig(path, facecolor=figure.get_facecolor())
        paths.append(path)
    return paths


def _plan(figure: Figure, record: Mapping[str, Any], page: Page) -> None:
    axes = figure.subplots()
    chosen = {merge["recipient"]: merge for merge in record["merges"] if merge["chosen"]}
    _dress(axes, page)
    for column, bundle in enumerate(record["bundles"]):
        _column(axes, column, bundle, chosen.get(bundle["name"]), page)
    names = [bundle["name"] for bundle in record["bundles"]]
    axes.set_xticks(range(len(names)), names, color=page.text, fontsize=TEXT_SIZE)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel("MB of weights, the first node below", color=page.text, fontsize=TEXT_SIZE)
    words = f"{record['bytes'] / 1e6:.2f} MB instead of {sum(b['bytes'] for b in record['bundles']) / 1e6:.2f}"
    axes.set_title(f"What is shared (blue) and kept: {words}", loc="left", color=page.text, fontweight="bold")


def _column(axes: Axes, column: int, bundle: Mapping[str, Any], merge: Mapping[str, Any] | None, page: Page) -> None:
    """Draw one detector, from its first node up; nodes that another's stand in for are outlines."""
    names, bottom = list(bundle["nodes"]), 0.0
    last = -1 if merge is None else names.index(merge["cut"])
    for i, name in enumerate(names):
        height = 4 * bundle["nodes"][name] / 1e6
        is_gone = i <= last
        face = "none" if is_gone else OWN
        axes.bar(
            column, height, 0.5, bottom, color=face, edgecolor=SHARED if is_gone else page.background, linewidth=1.5
        )
        if height > 0.05:
            colour = SHARED if is_gone else page.background
            axes.text(column, bottom + height / 2, name, ha="center", va="center", color=colour, fontsize=9)
        bottom += height
    if merge is not None:
        style: dict[str, Any] = {"color": SHARED, "fontsize": 9, "ha": "center", "va": "bottom"}
        axes.text(column, bottom, f"{merge['donor']}'s up to {merge['cut']}", **style)


def _similarity(figure: Figure, record: Mapping[str, Any], page: Page) -> None:
    axes = figure.subplots()
    rows = sorted(record["merges"], key=lambda merge: float(merge["predicted_loss"]))
    values = [[merge["similarity"][key] / most for key, _, most in METRICS] for merge in rows]
    _dress(axes, page)
    axes.grid(visible=False)
    axes.imshow(values, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(METRICS)), [words for _, words, _ in METRICS], color=page.text)
    labels = [("* " if merge["chosen"] else "") + merge["label"] for merge in rows]
    axes.set_yticks(range(len(rows)), labels, color=page.text, fontsize=8)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color=_ink(value))


def _ink(value: float) -> str:
    return "#000000" if value > 0.6 else "#ffffff"


def _dress(axes: Axes, page: Page) -> None:
    axes.set_facecolor(page.background)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(which="both", colors=page.text, labelcolor=page.text, length=0)
