"""The simulation of a cluster: what must hold whatever the constants are."""

from __future__ import annotations

import pytest

from benchmarks.serving.cluster import costs_of, pays_from
from benchmarks.serving.cluster_simulation import Costs, Fleet, carried, in_time

COSTS = Costs(front_s=0.001, fixed_s=0.002, per_frame_s=0.018, way_s=0.004)
ROWS = [
    {"replicas": 0, "latency_ms_p50": 25.0, "infer_ms_p50": 20.0, "goodput_per_s": 40.0, "front_cpu_ms": 22.0},
    {"replicas": 1, "latency_ms_p50": 29.0, "infer_ms_p50": 24.0, "goodput_per_s": 38.0, "front_cpu_ms": 1.0},
    {"replicas": 2, "latency_ms_p50": 29.0, "infer_ms_p50": 24.0, "goodput_per_s": 70.0, "front_cpu_ms": 1.0},
]


def test_one_camera_is_carried_by_one_replica():
    assert in_time(Fleet(1, 1), COSTS) == 1.0


def test_more_than_a_replica_can_compute_is_late():
    """50 frames a second at best, 100 are sent."""
    assert in_time(Fleet(20, 1), COSTS) < 0.6


def test_twice_the_replicas_carry_about_twice_the_cameras():
    one, two = (carried(replicas, COSTS, most=40) for replicas in (1, 2))
    assert 9 <= one <= 11
    assert 1.8 * one <= two <= 2.4 * one


def test_the_front_daemon_is_the_limit_in_the_end():
    """A core computes 200 frames a second for the front: 40 cameras, a few more for two seconds."""
    costs = Costs(front_s=0.005, fixed_s=0.002, per_frame_s=0.018, way_s=0.004)
    assert 38 <= carried(64, costs, most=100) <= 44


def test_a_way_that_takes_the_whole_deadline_carries_nobody():
    assert carried(4, Costs(0.001, 0.002, 0.018, 0.3), most=10) == 0


def test_the_constants_are_those_that_were_measured():
    costs = costs_of(ROWS, {1: 0.02, 8: 0.146})
    assert (costs.front_s, costs.way_s) == (0.001, 0.004)
    assert (costs.fixed_s, costs.per_frame_s) == (pytest.approx(0.002), pytest.approx(0.018))
    assert pays_from(ROWS) == 2
    assert pays_from(ROWS[:2]) is None
