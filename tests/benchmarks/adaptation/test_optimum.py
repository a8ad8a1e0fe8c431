"""The best that can be known of a link whose law is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.adaptation.link_model import LinkModel
from benchmarks.adaptation.optimum import OptimalPolicy, Problem
from benchmarks.adaptation.simulation import Outcome, simulate
from edge_client.adaptation.policy import FixedPolicy
from splitnet.operating_point import LOCAL, Mode
from tests.benchmarks.adaptation.test_simulation import DEVICE, adaptive, value, world
from tests.support.control_samples import LARGE, PICTURE, SMALL, SPLIT_TABLE, TABLE

STEADY = LinkModel(np.array([0.4e6, 20e6]), np.array([[1.0, 0.0], [0.0, 1.0]]))
FLICKERING = LinkModel(np.array([0.0, 1.5e6]), np.array([[0.7, 0.3], [0.1, 0.9]]))


def optimal(model: LinkModel, states: np.ndarray, table=SPLIT_TABLE, deadline_ms: float = 200.0):
    run = world(model.trace(states, "chain"), len(states) / 10, deadline_ms)
    return run, OptimalPolicy(run, table, model, states)


def test_on_a_rich_link_that_stays_rich_the_best_point_is_taken():
    run, policy = optimal(STEADY, np.ones(100, np.intp), TABLE)
    logs = simulate(run, policy)
    assert {log.point for log in logs} == {PICTURE.point}
    assert all(log.outcome is Outcome.MET for log in logs)


def test_a_point_that_would_fill_the_queue_for_later_frames_is_left_alone():
    run, policy = optimal(STEADY, np.zeros(100, np.intp))
    logs = simulate(run, policy)
    assert LARGE.point not in {log.point for log in logs}  # 4.9 KB are a tenth of a second each, at least
    assert sum(log.outcome is Outcome.MET for log in logs) > 95


def test_nobody_who_does_not_know_the_law_does_better():
    states = FLICKERING.states(300, np.random.default_rng(3))
    run, policy = optimal(FLICKERING, states)
    best = value(simulate(run, policy))
    rivals = [adaptive(SPLIT_TABLE, deadline_ms=200.0), *(FixedPolicy(row.point) for row in SPLIT_TABLE.rows)]
    assert best >= max(value(simulate(run, rival)) for rival in rivals)


def test_during_an_outage_the_device_detects_alone_if_that_is_in_time():
    table = replace(TABLE, local_ms=90.0)
    states = np.zeros(50, np.intp)
    run = world(FLICKERING.trace(np.array([0] * 49 + [1]), "chain"), 5.0)
    run = replace(run, device=replace(DEVICE, local_ms=90.0))
    logs = simulate(run, OptimalPolicy(run, table, FLICKERING, states))
    assert sum(log.point == LOCAL and log.outcome is Outcome.MET for log in logs) > 40


def test_chances_fall_with_bytes_and_with_what_waits():
    encode_s = np.array([row.encode_ms for row in TABLE.rows]) / 1000
    problem = Problem(FLICKERING, TABLE, 0.2, encode_s, np.inf, 0.03, 0.015)
    chances = problem.chances(1, np.array([0.0, 20_000.0, 200_000.0]))
    assert chances[0, 0] > chances[1, 0] >= chances[2, 0] == 0.0
    small, picture = (row for row in TABLE.rows if row in (SMALL, PICTURE))
    assert chances[0, TABLE.rows.index(small)] > chances[0, TABLE.rows.index(picture)]
    assert problem.chances(1, np.array([0.0]), waited_s=0.3).max() == 0.0


def test_the_policy_says_whether_it_can_do_without_the_link():
    _, with_local = optimal(STEADY, np.ones(10, np.intp), TABLE)
    _, without = optimal(STEADY, np.ones(10, np.intp), SPLIT_TABLE)
    assert with_local.works_offline and not without.works_offline
    assert Mode.LOCAL is LOCAL.mode


@pytest.mark.parametrize("steps", [60, 5])
def test_a_run_may_outlast_the_states_that_are_known(steps):
    states = np.ones(steps, np.intp)
    run = replace(world(STEADY.trace(states, "chain")), seconds=2.0)
    assert len(simulate(run, OptimalPolicy(run, SPLIT_TABLE, STEADY, states))) == 20
