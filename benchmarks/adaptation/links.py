"""The links of the adaptation benchmark: recorded, made up of steps, a ramp and outages, and generated from seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness.traces import Trace, part, ramp, read_trace, steps, with_outages
from splitnet.errors import ConfigError

TUNED_ON = frozenset(
    {
        *("steps", "ramp", "steps-outages", "TMobile-UMTS-driving", "ATT-LTE-driving", "TMobile-LTE-short"),
        *("lte-driving-1", "5g-driving-1", "5g-driving-8"),
    }
)
RECORDED, MADE_UP, GENERATED = "recorded", "made-up", "generated"  # families of links
# Of a generated link: its mean lies between these, its rate wanders about that, and it is away now and then.
LEAST_MBPS, MOST_MBPS = 0.2, 30.0
STEP_S, MEMORY, WANDER = 0.1, 0.97, 0.18  # of the logarithm of the rate: autoregressive, of first order
OUTAGES_EVERY_S, LONGEST_OUTAGE_S, LEAST_RATE_MBPS = 12.0, 8.0, 0.03
GENERATED_S = 58.0

Link = tuple[str, Trace]  # with its family


def chosen_links(
    paths: Sequence[Path], start_s: float, seconds: float | None, has_made_up: bool, seeds: Sequence[int] = ()
) -> list[Link]:
    """Return every link, cut to at most so many seconds from a start; only recorded ones begin there.

    seeds: of the generated ones. Recorded links that are over by then are left out. Raises ConfigError if none is left.
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
    made += [(GENERATED, _cut(generated(seed), 0.0, longest_s)) for seed in seeds]
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


def generated(seed: int) -> Trace:
    """Return a link of GENERATED_S seconds whose rate wanders and which is away now and then; the same for a seed."""
    rng = np.random.default_rng(seed)
    mean_mbps = np.exp(rng.uniform(np.log(LEAST_MBPS), np.log(MOST_MBPS)))
    wandered = list(
        itertools.accumulate(rng.normal(0, WANDER, round(GENERATED_S / STEP_S)), lambda x, e: MEMORY * x + e)
    )
    rates = np.maximum(LEAST_RATE_MBPS, mean_mbps * np.exp(wandered))
    outages, end_s = [], 0.0
    while (start_s := end_s + rng.exponential(OUTAGES_EVERY_S)) < GENERATED_S:
        end_s = start_s + min(LONGEST_OUTAGE_S, rng.lognormal(-1.0, 1.0))
        outages.append((start_s, end_s - start_s))
    return with_outages(steps(rates.tolist(), STEP_S, f"generated-{seed}"), outages)


def _cut(trace: Trace, start_s: float, longest_s: float) -> Trace:
    return part(trace, start_s, min(longest_s, trace.duration_s - start_s))
