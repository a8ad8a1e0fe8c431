"""The links of the adaptation benchmark: recorded, made up of steps, a ramp and outages, and generated from seeds.

What the controller's numbers were chosen on is kept apart from what they are judged on: of every recorded link of the
shared data the first half is for tuning and the second for judging, and of the generated ones the seeds below
FIRST_FRESH_SEED.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.adaptation.link_model import STEP_S, LinkModel, known_models
from benchmarks.harness.traces import Trace, part, ramp, read_trace, steps, with_outages
from splitnet.errors import ConfigError

RECORDED, MADE_UP, GENERATED = "recorded", "made-up", "generated"  # families of links
TUNE, JUDGE, WHOLE = "tune", "judge", "whole"  # parts of a recorded link: first half, second half, all of it
PARTS = {TUNE: (0.0, 0.5), JUDGE: (0.5, 1.0), WHOLE: (0.0, 1.0)}
HALVED = frozenset(  # the recorded links of the shared data
    {
        *("TMobile-UMTS-driving", "ATT-LTE-driving", "TMobile-LTE-short"),
        *("lte-driving-1", "5g-driving-1", "5g-driving-8"),
    }
)
FIRST_FRESH_SEED = 1000
GENERATED_S = 60.0
SPREAD = 0.5  # of the logarithm of a generated link's speed over that of its model
# Of a link that wanders: its mean lies between these, its rate wanders about that, and it is away now and then.
WANDERING = "wandering"
LEAST_MBPS, MOST_MBPS = 0.2, 30.0
MEMORY, WANDER = 0.97, 0.18  # of the logarithm of the rate: autoregressive, of first order
OUTAGES_EVERY_S, LONGEST_OUTAGE_S, LEAST_RATE_MBPS = 12.0, 8.0, 0.03


class Law(NamedTuple):
    """The chain that made a link, and the states that it went through."""

    model: LinkModel
    states: NDArray[np.intp]


class Link(NamedTuple):
    """A link, its family, and its law where that is known."""

    family: str
    trace: Trace
    law: Law | None = None
    is_tuned_on: bool = False

    def shared(self, cameras: int) -> Link:
        """Return what each of so many cameras has of it."""
        trace = replace(self.trace, bytes_=self.trace.bytes_ / cameras)
        return self._replace(trace=trace, law=self.law and self.law._replace(model=self.law.model.scaled(1 / cameras)))


def chosen_links(
    paths: Sequence[Path],
    start_s: float,
    seconds: float | None,
    has_made_up: bool,
    seeds: Sequence[int] = (),
    piece: str = WHOLE,
) -> list[Link]:
    """Return every link, cut to at most so many seconds from a start; only recorded ones begin there.

    seeds: of the generated ones. piece: of each recorded link, before it is cut. Recorded links that are over by then
    are left out. Raises ConfigError if none is left.
    """
    if seconds is not None and seconds <= 0:
        raise ConfigError("--seconds must be positive")
    longest_s = float("inf") if seconds is None else seconds
    pieces = [piece_of(read_trace(path), piece) for path in files_of(paths)]
    links = [
        Link(RECORDED, _cut(trace, start_s, longest_s), is_tuned_on=piece != JUDGE and trace.name in HALVED)
        for trace in pieces
        if trace.duration_s > start_s
    ]
    if has_made_up:
        links += [Link(MADE_UP, _cut(trace, 0.0, longest_s), is_tuned_on=True) for trace in made_up()]
    for seed in seeds:
        link = generated(seed)
        links.append(link._replace(trace=_cut(link.trace, 0.0, longest_s)))
    if not links:
        raise ConfigError(f"no link lasts longer than {start_s:g} s: give an earlier --start, or other --traces")
    return links


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


def generated(seed: int) -> Link:
    """Return a link of GENERATED_S seconds, the same for a seed.

    In turn they are 3G, LTE and 5G by their models, and one that wanders.
    """
    rng = np.random.default_rng(seed)
    models = known_models()
    kind = [*models, WANDERING][seed % (len(models) + 1)]
    name, is_tuned_on = f"{kind}-{seed}", seed < FIRST_FRESH_SEED
    if kind == WANDERING:
        return Link(GENERATED, _wandering(rng, name), is_tuned_on=is_tuned_on)
    model = models[kind].scaled(float(np.exp(rng.normal(0.0, SPREAD))))
    states = model.states(round(GENERATED_S / STEP_S), rng)
    return Link(GENERATED, model.trace(states, name), Law(model, states), is_tuned_on)


def _wandering(rng: np.random.Generator, name: str) -> Trace:
    mean_mbps = np.exp(rng.uniform(np.log(LEAST_MBPS), np.log(MOST_MBPS)))
    errors = rng.normal(0, WANDER, round(GENERATED_S / STEP_S))
    wandered = list(itertools.accumulate(errors, lambda x, e: MEMORY * x + e))
    rates = np.maximum(LEAST_RATE_MBPS, mean_mbps * np.exp(wandered))
    outages, end_s = [], 0.0
    while (start_s := end_s + rng.exponential(OUTAGES_EVERY_S)) < GENERATED_S:
        end_s = start_s + min(LONGEST_OUTAGE_S, rng.lognormal(-1.0, 1.0))
        outages.append((start_s, end_s - start_s))
    return replace(with_outages(steps(rates.tolist(), STEP_S), outages), name=name)


def piece_of(trace: Trace, piece: str) -> Trace:
    """Return one of the PARTS of a recorded link."""
    begin, end = PARTS[piece]
    return part(trace, begin * trace.duration_s, (end - begin) * trace.duration_s)


def _cut(trace: Trace, start_s: float, longest_s: float) -> Trace:
    return part(trace, start_s, min(longest_s, trace.duration_s - start_s))
