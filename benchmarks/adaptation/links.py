"""The links of the adaptation benchmark: recorded ones, and made-up ones with steps, a ramp and outages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness.traces import Trace, part, ramp, read_trace, steps, with_outages
from splitnet.errors import ConfigError

TUNED_ON = frozenset({"steps", "ramp", "steps-outages", "TMobile-UMTS-driving"})
RECORDED, MADE_UP = "recorded", "made-up"  # families of links

Link = tuple[str, Trace]  # with its family


def chosen_links(paths: Sequence[Path], start_s: float, seconds: float | None, has_made_up: bool) -> list[Link]:
    """Return every link, cut to at most so many seconds from a start; the made-up ones begin at their beginning.

    Recorded links that are over by then are left out. Raises ConfigError if none is left.
    """
    if seconds is not None and seconds <= 0:
        raise ConfigError("--seconds must be positive")
    longest_s = float("inf") if seconds is None else seconds
    recorded = [
        (RECORDED, _cut(trace, start_s, longest_s))
        for trace in map(read_trace, files_of(paths))
        if trace.duration_s > start_s
    ]
    made = [(MADE_UP, _cut(trace, 0.0, longest_s)) for trace in made_up()] if has_made_up else []
    if not (recorded or made):
        raise ConfigError(f"no link lasts longer than {start_s:g} s: give an earlier --start, or other --traces")
    return [*recorded, *made]


def files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that are named, and those of the folders that are: all but hidden ones and Markdown."""
    for path in paths:
        found = sorted(path.iterdir()) if path.is_dir() else [path]
        yield from (one for one in found if one == path or not (one.name.startswith(".") or one.suffix == ".md"))


def made_up() -> list[Trace]:
    """Return links with steps, a ramp and outages."""
    return [
        steps([4, 1, 4, 0.5, 2, 0.5, 8, 2], 10.0),
        ramp(0.3, 6.0, 20.0),
        with_outages(steps([2.0], 40.0), [(8.0, 2.0), (20.0, 6.0), (33.0, 0.6)]),
    ]


def _cut(trace: Trace, start_s: float, longest_s: float) -> Trace:
    return part(trace, start_s, min(longest_s, trace.duration_s - start_s))
