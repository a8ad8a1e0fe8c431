"""Similarities: against their formulas on whole matrices, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.sharing.similarity import ROWS, Alignment, debiased_hsic

GENERATOR = torch.Generator().manual_seed(3)


def drawn(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=GENERATOR)


def aligned(x: torch.Tensor, y: torch.Tensor, size: int = ROWS) -> Alignment:
    found = Alignment(x.shape[1], y.shape[1])
    for i in range(0, len(x), size):
        found.add(x[i : i + size], y[i : i + size])
    return found


def test_debiased_hsic_is_the_mean_over_all_quadruples():
    """By its definition as a U-statistic (Song et al. 2012), on six rows."""
    from itertools import permutations

    x, y = drawn(6, 2).double(), drawn(6, 3).double()
    k, l = x @ x.T, y @ y.T  # noqa: E741 - the paper's letters
    terms = [float(k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])) for i, j, q, r in permutations(range(6), 4)]
    for one in (k, l):
        one.fill_diagonal_(0.0)
    assert debiased_hsic(k, l) == pytest.approx(np.mean(terms), rel=1e-9)


def test_a_representation_is_most_alike_itself_rotated_and_scaled():
    x = drawn(ROWS, 5)
    rotation = torch.linalg.qr(drawn(5, 5))[0]
    found = aligned(x, 3 * x @ rotation)
    assert (found.cka, found.procrustes, found.gram_cosine) == pytest.approx((1.0, 1.0, 1.0), abs=1e-5)


def test_what_has_nothing_in_common_is_near_nothing_and_not_biased_upwards():
    values = [aligned(drawn(ROWS, 40), drawn(ROWS, 40)).cka for _ in range(30)]
    assert abs(np.mean(values)) < 0.02  # the biased estimate gives about 0.14 here


def test_the_ratio_is_taken_after_the_batches_are_summed():
    x, y = drawn(64, 3), drawn(64, 4)
    sums = np.zeros(3)
    for i in (0, 32):
        k, l = (part[i : i + 32].double() @ part[i : i + 32].double().T for part in (x, y))  # noqa: E741
        for one in (k, l):
            one.fill_diagonal_(0.0)
        sums += [debiased_hsic(k, l), debiased_hsic(k, k), debiased_hsic(l, l)]
    assert aligned(x, y, 32).cka == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]), rel=1e-9)


@pytest.mark.long
def test_cka_in_small_batches_is_that_of_another_implementation():
    other = pytest.importorskip("ckatorch.core", reason="the extra `oracle` is not installed")
    x, y = drawn(96, 7), drawn(96, 7) @ drawn(7, 5) + drawn(96, 5) / 3
    theirs = other.cka_batch(x.reshape(3, 32, 7), y.reshape(3, 32, 5))
    assert aligned(x, y, 32).cka == pytest.approx(float(theirs), rel=1e-9)


def test_procrustes_is_that_of_scipy():
    scipy_spatial = pytest.importorskip("scipy.spatial", reason="scipy comes with scikit-image")
    x, y = drawn(50, 4), drawn(50, 4)
    _, _, disparity = scipy_spatial.procrustes(x.numpy(), y.numpy())
    assert aligned(x, y).procrustes == pytest.approx(np.sqrt(1 - disparity), rel=1e-4)


def test_features_that_never_change_are_alike_nothing():
    found = aligned(torch.ones(ROWS, 3), drawn(ROWS, 3))
    assert (found.cka, found.procrustes) == pytest.approx((0.0, 0.0), abs=1e-3)
