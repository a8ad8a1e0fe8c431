"""Reaction times of the controller to a link or a load that changes at once."""

from __future__ import annotations

import statistics
from dataclasses import replace
from math import isfinite

from benchmarks.adaptation.figures import frames_until_width, late_frames_after, seconds_until_best
from benchmarks.adaptation.simulated_trace import ObservedPolicy
from benchmarks.adaptation.simulation import FrameLog, simulate
from benchmarks.adaptation.study import Study
from benchmarks.harness.traces import steps
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings

STEP_S = 10.0  # each level


def reactions(study: Study, deadline_ms: float) -> dict[str, object]:
    """Return how quickly the controller follows: a link 4 times slower, one 4 times faster, twice the load."""
    aps = {row.point: row.ap for row in study.table().rows}
    link = study.world(steps([4.0, 1.0, 4.0], STEP_S), deadline_ms)
    observed = ObservedPolicy(study.policy("adaptive", link))
    logs = simulate(link, observed)
    until_best_s = round(seconds_until_best(logs, aps, 2 * STEP_S, 3 * STEP_S), 2)
    return {
        "deadline_ms": deadline_ms,
        "late_frames_after_step_down": late_frames_after(logs, STEP_S),
        "seconds_to_new_best_after_step_up": until_best_s if isfinite(until_best_s) else None,
        "frames_until_width_follows_load": frames_until_width(_loaded(study, deadline_ms), STEP_S, 2 * STEP_S),
        "decision_us_p50": round(1e6 * statistics.median(observed.decision_s), 1),
    }


def _loaded(study: Study, deadline_ms: float) -> list[FrameLog]:
    """Return a run of the split points alone in which the load doubles after STEP_S."""
    device = replace(study.device, load=((0.0, 1.0), (STEP_S, 2.0)))
    world = study.world(steps([2.0], 2 * STEP_S), deadline_ms, device)
    return simulate(world, AdaptivePolicy(study.table("split"), ControlSettings(deadline_ms)))
