"""The cost of a batch: a line, found online, that neither a hiccup nor a load of one size can bend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_server.scheduling.batch_cost import BatchCost


def fitted(fixed_s: float, per_frame_s: float, sizes: list[int]) -> BatchCost:
    cost = BatchCost()
    for size in sizes:
        cost.observe(size, fixed_s + per_frame_s * size)
    return cost


def test_nothing_is_known_at_first():
    cost = BatchCost()
    assert not cost.known and cost.duration_s(8) == 0.0 and cost.bound_s(8) == 0.0


def test_one_observation_gives_no_hope_that_batching_pays():
    cost = fitted(0.0, 0.01, [4])
    assert cost.duration_s(1) == pytest.approx(0.01) and cost.fixed_s == pytest.approx(0.0)


@given(st.floats(0.001, 0.1), st.floats(0.001, 0.1))
def test_a_line_is_found(fixed_s, per_frame_s):
    cost = fitted(fixed_s, per_frame_s, [8, 4, 2, 1] * 15)
    for size in (1, 3, 8):
        assert cost.duration_s(size) == pytest.approx(fixed_s + per_frame_s * size, rel=0.02)


def test_a_load_of_one_size_moves_the_level_and_keeps_the_slope():
    cost = fitted(0.02, 0.01, [8, 4, 2, 1] * 15)
    slope = cost.per_frame_s
    for _ in range(100):
        cost.observe(4, 0.09)
    assert cost.duration_s(4) == pytest.approx(0.09, rel=1e-3)
    assert cost.per_frame_s == pytest.approx(slope, rel=0.3)


def test_one_hiccup_is_not_believed():
    cost = fitted(0.0, 0.01, [1, 2, 4, 8] * 10)
    cost.observe(1, 10.0)
    assert cost.duration_s(1) < 0.02


def test_a_lasting_slowdown_is_learnt():
    cost = fitted(0.0, 0.001, [1, 2, 4, 8] * 10)
    for _ in range(40):
        cost.observe(2, 0.2)
    assert cost.duration_s(2) == pytest.approx(0.2, rel=0.05)


def test_the_bound_widens_with_the_noise_and_not_without():
    steady, noisy = fitted(0.0, 0.01, [1, 2] * 20), BatchCost()
    for index in range(40):
        noisy.observe(1, 0.01 * (1.5 if index % 2 else 0.5))
    assert steady.bound_s(1) == pytest.approx(0.01, rel=0.01)
    assert noisy.bound_s(1) > 1.5 * noisy.duration_s(1)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.0, 10.0)), min_size=1, max_size=50))
def test_no_batch_is_ever_expected_to_take_less_than_nothing(observations):
    cost = BatchCost()
    for size, duration_s in observations:
        cost.observe(size, duration_s)
        assert cost.per_frame_s >= 0 and cost.fixed_s >= -1e-9
        assert 0 <= cost.duration_s(1) <= cost.duration_s(64) + 1e-9
        assert cost.duration_s(1) <= cost.bound_s(1)
