"""The parts of rivals that are arithmetic alone."""

from __future__ import annotations

import numpy as np

from benchmarks.updates.post_hoc import hadamard, rank_of


def test_the_rotation_is_its_own_inverse_and_keeps_lengths():
    assert hadamard(np.array([1, 0, 0, 0], np.float32)).tolist() == [0.5, 0.5, 0.5, 0.5]
    np.testing.assert_allclose(hadamard(np.array([1, 2], np.float32)), [3 / 2**0.5, -1 / 2**0.5], rtol=1e-6)
    values = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    np.testing.assert_allclose(hadamard(hadamard(values)), values, atol=1e-5)


def test_a_rank_has_at_least_a_share_of_the_energy():
    sizes = np.array([3.0, 1.0, 0.5], np.float32)  # energies 9, 1, 0.25
    assert [rank_of(sizes, share) for share in (0.5, 0.87, 0.9, 0.99, 1.0)] == [1, 1, 2, 3, 3]
    assert rank_of(np.zeros(3, np.float32), 0.9) == 0
