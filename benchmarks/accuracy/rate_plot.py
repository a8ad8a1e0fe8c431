"""The rate benchmark as a figure: accuracy over bytes, the area of a mark being its encode time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.drawing import TEXT_SIZE, THEMES, Theme, save, stacked_panels, title
from benchmarks.harness.rate_curve import front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_IN = 6.4
LARGEST_AREA = 190.0  # square points, of the mark of the longest encode time
KEY_MS = (0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
NAMES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}
LABEL_GAP = 0.042  # of the panel's height, between two labels
AVIF_COLOURS = {THEMES["light"].page: "#a8479a", THEMES["dark"].page: "#de86cf"}

Result = Mapping[str, Any]
Row = Mapping[str, Any]


def draw_rate(out: Path, result: Result) -> None:
    """Write FILE-light.png and FILE-dark.png beside FILE.json."""
    for name, theme in THEMES.items():
        draw(out.with_name(f"{out.stem}-{name}.png"), result, theme)


def draw(path: Path, result: Result, theme: Theme) -> None:
    """Write a figure, 1200 pixels wide, of what `rate.run` has returned."""
    figure, (axes,) = stacked_panels([HEIGHT_IN], theme)
    curves = list(dict.fromkeys(row["curve"] for row in result["points"]))
    widths = list(dict.fromkeys(row["curve"] for row in result["points"] if row["setting"] == "split"))
    rivals = [curve for curve in curves if curve not in widths]
    colours = dict.fromkeys(rivals, theme.skip) | _colours(widths, theme)
    _draw_unsplit(axes, result["unsplit"], theme)
    slowest_ms = max(row["encode_ms_p50"] for row in result["points"])
    ends: dict[str, Row] = {}
    for curve in curves:
        rows = [row for row in result["points"] if row["curve"] == curve]
        best = _front(rows)
        has_band = curve in (*rivals, widths[0], widths[-1])
        _draw_curve(axes, rows, best, colours[curve], LARGEST_AREA / slowest_ms, has_band)
        ends[curve] = best[0]
    _scale(axes, result["points"], theme)
    _name_widths(axes, [ends[width] for width in widths], colours)
    _name_rivals(axes, [ends[curve] for curve in rivals], colours)
    _draw_key(axes, theme, slowest_ms)
    words = f"Average precision against bytes: {result['images']} images, best settings and sizes of every codec"
    title(axes, theme, words)
    save(figure, path)


def _colours(widths: Sequence[str], theme: Theme) -> dict[str, str]:
    """Return a colour for each curve; the wider, the nearer to full blue."""
    from matplotlib.colors import to_hex, to_rgb

    blue, page = np.array(to_rgb(theme.split)), np.array(to_rgb(theme.page))
    shares = np.linspace(0.58, 1.0, len(widths)) if len(widths) > 1 else [1.0]
    shades = {w: str(to_hex(share * blue + (1 - share) * page)) for w, share in zip(widths, shares, strict=True)}
    return shades | {"jpeg": theme.image, "webp": theme.local, "avif": AVIF_COLOURS[theme.page]}


def _front(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other beats with fewer bytes, by bytes."""
    sizes, ap = (np.array([row[key] for row in rows], np.float64) for key in ("bytes_mean", "ap"))
    kept = front(sizes, ap)
    by_place = {(round(float(np.log(row["bytes_mean"])), 9), row["ap"]): row for row in rows}
    return [by_place[round(float(x), 9), float(y)] for x, y in zip(kept.log_bytes, kept.ap, strict=True)]


def _draw_curve(
    axes: Axes, rows: Sequence[Row], best: Sequence[Row], colour: str, area_per_ms: float, has_band: bool
) -> None:
    kilobytes = [row["bytes_mean"] / 1000 for row in best]
    if has_band:
        low, high = ([row[key] for row in best] for key in ("ap_low", "ap_high"))
        axes.fill_between(kilobytes, low, high, color=colour, alpha=0.10, linewidth=0, zorder=1)
    axes.plot(kilobytes, [row["ap"] for row in best], color=colour, linewidth=2.0, zorder=3)
    for chosen, alpha in ((best, 1.0), ([row for row in rows if row not in best], 0.25)):
        areas = [area_per_ms * row["encode_ms_p50"] for row in chosen]
        x, y = [row["bytes_mean"] / 1000 for row in chosen], [row["ap"] for row in chosen]
        axes.scatter(x, y, s=areas, color=colour, alpha=alpha, linewidths=0, zorder=4 if alpha == 1 else 2)


def _draw_unsplit(axes: Axes, rows: Sequence[Row], theme: Theme) -> None:
    """Draw what whole detectors reach; the best one is named above its line, the others below theirs."""
    best = max(rows, key=lambda row: float(row["ap"]))
    for row in rows:
        axes.axhline(row["ap"], color=theme.text, linewidth=1.0, linestyle=(0, (5, 4)), zorder=2)
        axes.annotate(
            f"{row['detector']} detector, unsplit, uncompressed: {row['ap']:.1f}",
            (0.0, row["ap"]),
            xycoords=("axes fraction", "data"),
            xytext=(2, 5 if row is best else -6),
            textcoords="offset points",
            va="bottom" if row is best else "top",
            color=theme.text,
            fontsize=TEXT_SIZE,
        )


def _scale(axes: Axes, rows: Sequence[Row], theme: Theme) -> None:
    """Set the axes, with room for the names of the widths at the left."""
    kilobytes = [row["bytes_mean"] / 1000 for row in rows]
    axes.set_xscale("log")
    axes.set_xlim(0.42 * min(kilobytes), 1.15 * max(kilobytes))
    axes.set_xticks([tick for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if min(kilobytes) / 2 < tick < max(kilobytes)])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="x", color=theme.faint, linewidth=0.6)
    axes.set_ylim(bottom=max(0, 5 * (min(row["ap"] for row in rows) // 5) - 5))
    axes.set_xlabel("KB a frame, mean", color=theme.text, fontsize=TEXT_SIZE)


def _name_widths(axes: Axes, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    """Write the widths' names at the left of their first points, under one another, apart."""
    bottom, top = axes.get_ylim()
    heights = spread([row["ap"] for row in rows], LABEL_GAP * (top - bottom))
    left = min(row["bytes_mean"] / 1000 for row in rows)
    for row, height in zip(rows, heights, strict=True):
        words = f"{row['curve']}, {row['mmacs']:.0f} MMACs"
        _write(axes, words, (left, height), (-10, 0), colours[row["curve"]], ha="right", va="center")


def _name_rivals(axes: Axes, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    """Write the rivals' names under their first points: curves rise, so nothing is there."""
    for row in rows:
        place, curve = (row["bytes_mean"] / 1000, row["ap"]), str(row["curve"])
        _write(axes, NAMES.get(curve, curve), place, (0, -9), colours[curve], ha="center", va="top")


def _write(
    axes: Axes, words: str, place: tuple[float, float], offset: tuple[float, float], colour: str, **align: Any
) -> None:
    style: dict[str, Any] = {"color": colour, "fontsize": TEXT_SIZE, "fontweight": "bold"}
    axes.annotate(words, place, xytext=offset, textcoords="offset points", **style, **align)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return heights in the same order, moved up just so far that they are a gap apart."""
    moved: dict[int, float] = {}
    last = float("-inf")
    for index in sorted(range(len(heights)), key=lambda i: heights[i]):
        last = moved[index] = max(heights[index], last + gap)
    return [moved[index] for index in range(len(heights))]


def _draw_key(axes: Axes, theme: Theme, slowest_ms: float) -> None:
    """Show what the area of a mark means, at the lower right."""
    place = axes.transAxes
    text: dict[str, Any] = {"transform": place, "color": theme.text, "fontsize": TEXT_SIZE, "va": "center"}
    axes.text(0.985, 0.145, "area of a mark: encode time, one core", ha="right", **text)
    axes.text(0.985, 0.025, "band: 95 % interval", ha="right", **text)
    shown = [ms for ms in KEY_MS if ms <= slowest_ms][-4:]
    for index, ms in enumerate(shown):
        x = 0.985 - 0.085 * (len(shown) - index)
        axes.scatter(
            [x],
            [0.085],
            s=LARGEST_AREA / slowest_ms * ms,
            color=theme.skip,
            linewidths=0,
            transform=place,
            clip_on=False,
        )
        axes.text(x + 0.016, 0.085, f"{ms:g} ms", ha="left", **text)
