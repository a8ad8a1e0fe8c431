"""The run as a chart: bytes and latency of every frame over time, coloured by operating point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.drawing import colours
from demo.answers import Answer


def draw_chart(path: Path, answers: Sequence[Answer], points: Sequence[str]) -> None:
    """Write a PNG with two panels over the source's time: KB a frame, end-to-end milliseconds."""
    from matplotlib.figure import Figure  # a second to load: not for --help

    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    sizes, latencies = figure.subplots(2, 1, sharex=True)
    for point, colour in colours(points).items():
        own = [answer for answer in answers if answer.point == point]
        seconds = [answer.position_s for answer in own]
        style = {"color": colour, "label": point, "linestyle": "none", "marker": "o", "markersize": 3.5}
        sizes.plot(seconds, [answer.payload_bytes / 1000 for answer in own], **style)
        latencies.plot(seconds, [answer.end_to_end_ms for answer in own], **style)
    sizes.set_ylabel("KB a frame")
    sizes.set_yscale("log")
    sizes.yaxis.set_major_formatter("{x:g}")
    latencies.set_ylabel("end-to-end ms")
    latencies.set_ylim(bottom=0)
    latencies.set_xlabel("seconds")
    for axes in (sizes, latencies):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    figure.legend(*sizes.get_legend_handles_labels(), loc="outside upper center", ncols=len(points), frameon=False)
    figure.savefig(path)
