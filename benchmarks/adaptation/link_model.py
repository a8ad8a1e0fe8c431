"""A stochastic model of links: a Markov chain over states of capacity, fitted to recorded links.

Every STEP_S seconds the link is in one state, an outage or one of a ladder of rates. Where it goes next depends on the
state it is in, and on nothing else. So the chain keeps the rates, how quickly they change and how long outages last, as
far as one step's memory can. The fitted chains are kept in `link_models.json`; `fitted` says how they were made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.traces import Trace, steps

STEP_S = 0.1
OUTAGE_BPS = 20_000.0  # a step with less counts as an outage
GROWTH = 1.7  # the next state's rate over a state's
STATES = 17  # the outage included: up to about 80 Mbps
PRIOR = 0.3  # counts that staying and the neighbouring states have in advance
FILE = Path(__file__).with_name("link_models.json")

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinkModel:
    """A chain over states of capacity."""

    rates_bps: Floats  # (K,) of each state
    transitions: Floats  # (K, K): of the next state, given this one

    @property
    def start(self) -> Floats:
        """How often it is in each state in the long run (K,)."""
        share = np.full(len(self.rates_bps), 1 / len(self.rates_bps))
        for _ in range(2000):
            share = share @ self.transitions
        return np.asarray(share / share.sum())

    def scaled(self, factor: float) -> LinkModel:
        """Return the model of a link that is so many times as fast."""
        return LinkModel(self.rates_bps * factor, self.transitions)

    def states(self, count: int, rng: np.random.Generator, first: Sequence[int] = ()) -> NDArray[np.intp]:
        """Draw the states of so many steps: of one run (count,), or of one from each first state (N, count)."""
        current = np.array(first) if len(first) else rng.choice(len(self.rates_bps), 1, p=self.start)
        borders = self.transitions.cumsum(axis=1)
        drawn = np.empty((len(current), count), np.intp)
        for step in range(count):
            drawn[:, step] = current
            above = (borders[current] < rng.random(len(current))[:, None]).sum(axis=1)
            current = np.minimum(above, len(self.rates_bps) - 1)
        return drawn if len(first) else drawn[0]

    def trace(self, states: NDArray[np.intp], name: str) -> Trace:
        """Return the link that goes through these states."""
        return steps((self.rates_bps[states] / 1e6).tolist(), STEP_S, name)

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON values."""
        return {"rates_bps": self.rates_bps.round(1).tolist(), "transitions": self.transitions.round(5).tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LinkModel:
        """Return the model in JSON values."""
        transitions = np.array(values["transitions"], np.float64)
        return cls(np.array(values["rates_bps"], np.float64), transitions / transitions.sum(axis=1, keepdims=True))


def fitted(traces: Sequence[Trace]) -> LinkModel:
    """Return the chain that fits links best: its transitions are counted, its states' rates are those seen in them."""
    levels = OUTAGE_BPS * GROWTH ** np.arange(STATES - 1)
    counts = PRIOR * (np.eye(STATES) + np.eye(STATES, k=1) + np.eye(STATES, k=-1))
    seen: list[list[float]] = [[] for _ in range(STATES)]
    for trace in traces:
        ends = np.arange(int(trace.duration_s / STEP_S), dtype=np.float64) * STEP_S
        bps = 8 * np.diff(trace.delivered_bytes(ends)) / STEP_S
        states = np.searchsorted(levels, bps, side="right")
        np.add.at(counts, (states[:-1], states[1:]), 1)
        for state, rate in zip(states.tolist(), bps.tolist(), strict=True):
            seen[state].append(rate)
    middle = np.concatenate(([0.0], levels * np.sqrt(GROWTH)))
    rates = [float(np.mean(one)) if one else float(m) for one, m in zip(seen, middle, strict=True)]
    return LinkModel(np.array(rates), counts / counts.sum(axis=1, keepdims=True))


@cache
def known_models() -> dict[str, LinkModel]:
    """Return the fitted chains by the kind of their links: "3g", "lte", "5g"."""
    return {name: LinkModel.from_json(values) for name, values in json.loads(FILE.read_text("utf-8")).items()}
