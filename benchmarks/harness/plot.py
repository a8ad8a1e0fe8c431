"""`python -m benchmarks plot run.jsonl`: a run as a figure. What the link gave, what was chosen, what came of it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.drawing import THEMES, Theme, save, stacked_panels, title
from benchmarks.harness.run_trace import DETECTED, FrameRecord, lane, lanes, link_beside, read_run
from benchmarks.harness.traces import Trace, read_trace
from splitnet.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUMMARY = "draw a run: capacity, bytes, mode and width, latency against the deadline, CPU load"
TRUE_SLOT_S = 0.5  # the true capacity is drawn as means over so long: as fine as a controller can follow
HEADROOM = 2.0  # deadlines shown; what took longer is drawn at the top
GAP_S = 2.0  # a line over frames breaks where there was none for so long

Floats = NDArray[np.float64]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("run", type=Path, metavar="RUN.jsonl", help="what edge-client run --trace-out has written")
    parser.add_argument("--out", type=Path, default=Path("plot.png"), metavar="FILE.png", help="(%(default)s)")
    parser.add_argument("--theme", choices=THEMES, default="light", help="of the page it is shown on (%(default)s)")
    parser.add_argument("--link", type=Path, metavar="TRACE", help="what the link could carry (RUN.link.csv)")
    parser.add_argument("--link-start-s", type=float, default=0.0, metavar="X", help="its second at the run's start")
    parser.add_argument("--from-s", type=float, default=0.0, metavar="X", help="draw from this second of the run on")
    parser.add_argument("--to-s", type=float, metavar="X", help="draw up to this second of the run")


def run(options: Namespace) -> str:
    """Draw, and return a line about it. Raises ConfigError."""
    end_s = float("inf") if options.to_s is None else options.to_s
    records = [record for record in read_run(options.run) if options.from_s <= record.time_s <= end_s]
    if not records:
        raise ConfigError(f"{options.run} has no frames between these seconds")
    known = options.link or link_beside(options.run)
    link = read_trace(known) if options.link or known.exists() else None
    draw_run(options.out, records, link, THEMES[options.theme], link_start_s=options.link_start_s)
    return f"{len(records)} frames, drawn to {options.out}"


def draw_run(
    path: Path, records: Sequence[FrameRecord], link: Trace | None, theme: Theme, *, link_start_s: float = 0.0
) -> None:
    """Write a PNG (or what the name says) of a run, panels under one another over its time.

    link: what it could carry, if that is known; link_start_s: the second of it at which the run started.
    """
    names = lanes(records)
    heights = [1.9, 1.7, 0.75 + 0.21 * len(names), 2.1, 1.35]
    figure, (capacity, sizes, chosen, latency, load) = stacked_panels(heights, theme)
    _draw_capacity(capacity, records, link, link_start_s, theme)
    _draw_sizes(sizes, records, theme)
    _draw_lanes(chosen, records, names, theme)
    _draw_latency(latency, records, theme)
    _draw_load(load, records, theme)
    load.set_xlim(records[0].time_s, max(records[-1].time_s, records[0].time_s + 1))
    load.set_xlabel("seconds", color=theme.text, fontsize=11)
    save(figure, path)


def _draw_capacity(
    axes: Axes, records: Sequence[FrameRecord], link: Trace | None, link_start_s: float, theme: Theme
) -> None:
    legend = [("estimate", theme.split)]
    seconds, mbps = series(records, [_mbps(record.capacity_bps) for record in records])
    highest = float(np.nanmax(mbps, initial=0.0))
    if link is not None:
        edges, true_mbps = true_capacity(link, records[0].time_s, records[-1].time_s, link_start_s)
        axes.stairs(true_mbps, edges, fill=True, color=theme.faint, zorder=0)
        legend.insert(0, ("what the link could carry", theme.skip))
        highest = max(float(true_mbps.max()), min(highest, 1.5 * float(true_mbps.max())))
    low_seconds, low_mbps = series(records, [_mbps(record.capacity_low_bps) for record in records])
    if low_mbps.size:
        axes.plot(low_seconds, low_mbps, color=theme.soft, linewidth=1.2)
        legend.append(("what is counted on", theme.soft))
    axes.plot(seconds, mbps, color=theme.split, linewidth=1.6)
    axes.set_ylim(0, max(1.08 * highest, 0.1))
    title(axes, theme, "Uplink, Mbps", legend)


def _draw_sizes(axes: Axes, records: Sequence[FrameRecord], theme: Theme) -> None:
    from matplotlib.ticker import LogLocator

    for mode in ("split", "image"):
        own = [record for record in records if record.mode == mode and record.payload_bytes]
        kilobytes = [record.payload_bytes / 1000 for record in own]
        axes.plot([record.time_s for record in own], kilobytes, color=theme.of_mode(mode), **_DOT)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.tick_params(which="minor", length=0)
    title(axes, theme, "KB a frame", [("features", theme.split), ("image", theme.image)])


def _draw_lanes(axes: Axes, records: Sequence[FrameRecord], names: Sequence[str], theme: Theme) -> None:
    """Draw a mark for every frame on the lane of what was chosen for it."""
    for index, name in enumerate(names):
        own = [record for record in records if lane(record) == name]
        colour = theme.of_mode(own[0].mode if own else None)
        axes.vlines([record.time_s for record in own], index - 0.36, index + 0.36, color=colour, linewidth=1.3)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, max(0.6, len(names) - 0.4))
    title(axes, theme, "Chosen: image, or width of the encoder")


def _draw_latency(axes: Axes, records: Sequence[FrameRecord], theme: Theme) -> None:
    """Draw each frame's latency; what came to nothing is marked below the zero."""
    detected = [record for record in records if record.outcome in DETECTED and record.total_ms is not None]
    deadline_ms = max(record.deadline_ms for record in records)
    slowest = max((record.total_ms or 0.0 for record in detected), default=1.0)
    top = min(slowest, HEADROOM * deadline_ms) if deadline_ms else slowest
    for mode in ("split", "image", "local"):
        own = [record for record in detected if record.mode == mode and record.in_time]
        axes.plot([r.time_s for r in own], [r.total_ms or 0.0 for r in own], color=theme.of_mode(mode), **_DOT)
    late = [record for record in detected if not record.in_time]
    axes.plot([r.time_s for r in late], [min(r.total_ms or 0.0, top) for r in late], color=theme.bad, **_DOT)
    nothing = [record.time_s for record in records if record.outcome not in DETECTED]
    axes.plot(nothing, [-0.07 * top] * len(nothing), color=theme.skip, **_TICK)
    if deadline_ms:
        axes.axhline(deadline_ms, color=theme.text, linewidth=1.0, linestyle=(0, (5, 4)))
    axes.set_ylim(-0.14 * top, 1.06 * max(top, deadline_ms))
    axes.locator_params(axis="y", nbins=6)
    in_time = sum(record.in_time for record in records) / len(records)
    legend = [("on the device", theme.local), ("late", theme.bad), ("dropped", theme.skip)]
    title(axes, theme, f"Latency, ms: {in_time:.1%} of the frames by the deadline of {deadline_ms:g}", legend)


def _draw_load(axes: Axes, records: Sequence[FrameRecord], theme: Theme) -> None:
    """Draw the processor's load, or where nobody has measured it how much slower than its profile the device is."""
    if any(record.cpu_busy is not None for record in records):
        seconds, busy = series(records, [_percent(record.cpu_busy) for record in records])
        _, own = series(records, [_percent(record.cpu_own) for record in records])
        axes.fill_between(seconds, busy, color=theme.faint, linewidth=0)
        axes.plot(seconds, busy, color=theme.skip, linewidth=1.2)
        axes.plot(seconds, own, color=theme.split, linewidth=1.6)
        axes.set_ylim(0, 105)
        title(axes, theme, "CPU, % of all cores", [("everything", theme.skip), ("this client", theme.split)])
        return
    seconds, factor = series(records, [record.load_factor for record in records])
    axes.plot(seconds, factor, color=theme.split, linewidth=1.6)
    axes.set_ylim(bottom=0)
    title(axes, theme, "Encode time, as a multiple of the profile's")


_DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3.2, "markeredgewidth": 0}
_TICK: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": 7.0, "markeredgewidth": 1.2}


def series(records: Sequence[FrameRecord], values: Sequence[float | None]) -> tuple[Floats, Floats]:
    """Return seconds and values of the frames that have one, with a NaN where there was none for `GAP_S`."""
    known = [(record.time_s, value) for record, value in zip(records, values, strict=True) if value is not None]
    points: list[tuple[float, float]] = []
    for second, value in known:
        if points and second - points[-1][0] > GAP_S:
            points.append(((second + points[-1][0]) / 2, float("nan")))
        points.append((second, value))
    table = np.array(points, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def true_capacity(link: Trace, begin_s: float, end_s: float, link_start_s: float) -> tuple[Floats, Floats]:
    """Return the edges of slots of the run's time, and the mean capacity of each in Mbps."""
    count = max(1, int(np.ceil((end_s - begin_s) / TRUE_SLOT_S)))
    edges = begin_s + TRUE_SLOT_S * np.arange(count + 1)
    means = [link.capacity_bps(link_start_s + a, link_start_s + b) / 1e6 for a, b in pairwise(edges)]
    return edges.astype(np.float64), np.array(means, np.float64)


def _mbps(bps: float | None) -> float | None:
    return None if bps is None else bps / 1e6


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
