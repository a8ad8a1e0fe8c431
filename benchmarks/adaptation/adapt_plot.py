"""The adaptation benchmark as figures: effective AP of the policies on every trace, and a run over its time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.adaptation.summary import FORESIGHT, GREEDY_ORACLE, OURS
from benchmarks.harness.drawing import TEXT_SIZE, THEMES, Theme, save, stacked_panels, title
from benchmarks.harness.plot import draw_run
from benchmarks.harness.run_trace import parse_run
from benchmarks.harness.traces import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 2.3
HALF = 0.36  # of a group's width, in groups
RIVALS = ("see", "image", "local")

Row = Mapping[str, Any]


def draw_comparisons(out: Path, rows: Sequence[Row]) -> None:
    """Write FILE-FAMILY-light.png and FILE-FAMILY-dark.png beside FILE.json for each family of traces."""
    for family in dict.fromkeys(row["family"] for row in rows):
        for name, theme in THEMES.items():
            path = out.with_name(f"{out.stem}-{family}-{name}.png")
            draw_comparison(path, [row for row in rows if row["family"] == family], theme)


def draw_comparison(path: Path, rows: Sequence[Row], theme: Theme) -> None:
    """Write a figure with a panel for each trace: effective AP of every policy, deadlines side by side."""
    traces = list(dict.fromkeys(row["trace"] for row in rows))
    deadlines = sorted({row["deadline_ms"] for row in rows})
    figure, panels = stacked_panels([PANEL_IN] * len(traces), theme)
    for index, (trace, axes) in enumerate(zip(traces, panels, strict=True)):
        own = [row for row in rows if row["trace"] == trace]
        for place, deadline_ms in enumerate(deadlines):
            _draw_group(axes, place, {r["policy"]: r for r in own if r["deadline_ms"] == deadline_ms}, theme)
        axes.set_ylim(bottom=0)
        title(axes, theme, f"Effective AP, {trace}", _legend(rows, theme) if index == 0 else ())
    panels[-1].set_xticks(range(len(deadlines)), [f"{deadline_ms:g} ms" for deadline_ms in deadlines])
    panels[-1].set_xlabel("deadline", color=theme.text, fontsize=TEXT_SIZE)
    save(figure, path)


def _draw_group(axes: Axes, place: int, policies: Mapping[str, Row], theme: Theme) -> None:
    """Draw the policies of one trace by one deadline: fixed points as a range, the greedy oracle as a line."""
    fixed = [row["ap"] for name, row in policies.items() if name not in (OURS, *RIVALS, *FORESIGHT)]
    if fixed:
        axes.vlines([place - 0.27], min(fixed), max(fixed), color=theme.faint, linewidth=7)
        axes.plot([place - 0.27], [max(fixed)], color=theme.skip, **_DOT)
    for offset, name in zip((-0.14, 0.0, 0.14, 0.27), (*RIVALS, OURS), strict=True):
        if name in policies:
            axes.plot([place + offset], [policies[name]["ap"]], color=_colours(theme)[name], **_DOT)
    if GREEDY_ORACLE in policies:
        axes.hlines([policies[GREEDY_ORACLE]["ap"]], place - HALF, place + HALF, color=theme.text, linewidth=1.2)


def _colours(theme: Theme) -> dict[str, str]:
    return {"see": theme.bad, "image": theme.image, "local": theme.local, OURS: theme.split, GREEDY_ORACLE: theme.text}


def _legend(rows: Sequence[Row], theme: Theme) -> list[tuple[str, str]]:
    known = {row["policy"] for row in rows}
    words = {
        "see": "SEE",
        "image": "images",
        "local": "device alone",
        OURS: "SlimSplit",
        GREEDY_ORACLE: "greedy oracle",
    }
    named = [(words[name], colour) for name, colour in _colours(theme).items() if name in known]
    has_fixed = bool(known - {OURS, *RIVALS, *FORESIGHT})
    return [*([("fixed points", theme.skip)] if has_fixed else []), *named]


def draw_time_line(out: Path, lines: Iterable[str], link: Trace, from_s: float, to_s: float) -> None:
    """Write FILE-run-light.png and FILE-run-dark.png: a run of the controller between two seconds of it."""
    records = [record for record in parse_run(lines) if from_s <= record.time_s <= to_s]
    for name, theme in THEMES.items():
        if records:
            draw_run(out.with_name(f"{out.stem}-run-{name}.png"), records, link, theme)


_DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8.0, "markeredgewidth": 0}
