"""Maps in closed form: against numpy's least squares, held-out rows, and what is singular."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from splitnet.nn.joint import JointSpec, Source, gathered
from training.sharing.moments import FLUSH_EVERY, Moments, drawn_positions, rows_of
from training.sharing.ridge import columns_of, explained, fit, solve

GENERATOR = torch.Generator().manual_seed(5)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def moments_of(x: torch.Tensor, y: torch.Tensor, size: int = 50) -> Moments:
    found = Moments(x.shape[1], y.shape[1])
    for i in range(0, len(x), size):
        found.add(x[i : i + size], y[i : i + size])
    return found


def folds_of(x: torch.Tensor, y: torch.Tensor) -> list[Moments]:
    return [moments_of(x[i::3], y[i::3]) for i in range(3)]


def test_a_linear_relation_is_found_and_explains_everything():
    x = drawn(600, 6)
    y = x @ drawn(6, 2) + torch.tensor([3.0, -1.0])
    found = fit(folds_of(x, y))
    assert found.r2 == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(x.numpy() @ found.weight + found.bias, y.numpy(), atol=1e-2)
    assert not found.is_singular


def test_without_a_ridge_it_is_least_squares():
    x, y = drawn(400, 5) + 2.0, drawn(400, 3)
    weight, bias = solve(moments_of(x, y), 1e-12)
    design = np.hstack([x.numpy(), np.ones((400, 1), np.float32)]).astype(np.float64)
    expected, *_ = np.linalg.lstsq(design, y.numpy().astype(np.float64), rcond=None)
    np.testing.assert_allclose(weight, expected[:-1], atol=1e-4)
    np.testing.assert_allclose(bias, expected[-1], atol=1e-4)


def test_what_is_explained_is_what_the_residuals_say():
    x, y = drawn(300, 4), drawn(300, 2)
    weight, bias = drawn(4, 2).double().numpy(), np.array([0.5, -0.5])
    residual = y.numpy() - x.numpy() @ weight - bias
    variance = ((y - y.mean(dim=0)) ** 2).sum().item()
    assert explained(moments_of(x, y), weight, bias) == pytest.approx(1 - (residual**2).sum() / variance, rel=1e-4)


def test_noise_is_not_explained_where_it_was_not_fitted():
    found = fit(folds_of(drawn(120, 60), drawn(120, 2)))
    assert found.r2 < 0.05 and found.ridge == 1e-2  # the largest: it fits the noise least


@pytest.mark.parametrize("count", [4, 200], ids=["too few", "all alike"])
def test_a_singular_map_is_held_by_the_ridge_and_says_so(count):
    x = drawn(count, 8) if count < 8 else torch.cat([drawn(count, 7), torch.zeros(count, 1)], dim=1)
    found = fit(folds_of(x, x[:, :2]))
    assert found.is_singular and np.isfinite(found.weight).all()


def test_images_that_are_all_the_same_give_a_finite_map():
    x, y = torch.ones(90, 4), torch.full((90, 2), 7.0)
    found = fit(folds_of(x, y))
    np.testing.assert_allclose(x.numpy() @ found.weight + found.bias, y.numpy(), atol=1e-6)
    assert found.is_singular


def test_moments_do_not_depend_on_how_the_rows_come():
    x, y = drawn(37 * FLUSH_EVERY, 3), drawn(37 * FLUSH_EVERY, 2)
    one, many = moments_of(x, y, len(x)), moments_of(x, y, 37)
    np.testing.assert_allclose(one.xx, many.xx, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose((moments_of(x[:50], y[:50]) + moments_of(x[50:], y[50:])).xy, many.xy, atol=1e-2)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_map_as_a_convolution_gives_what_it_gives_as_a_matrix(kernel):
    spec = JointSpec((Source("a", 3, 4), Source("b", 2, 16)), "t", 4, 8, kernel)
    features = {"a": drawn(1, 3, 8, 8), "b": drawn(1, 2, 2, 2)}
    rows = rows_of(gathered(spec, features), kernel)
    found = fit(folds_of(rows, drawn(len(rows), 4)))
    given = rows_of(found.joint(spec)(features), 1)
    np.testing.assert_allclose(given.numpy(), rows.numpy() @ found.weight + found.bias, atol=1e-4)


def test_the_columns_of_a_smaller_map_are_found_among_those_of_a_larger():
    a, b = Source("a", 2, 8), Source("b", 3, 8)
    wide, narrow = JointSpec((a, b), "t", 1, 8, 3), JointSpec((b,), "t", 1, 8, 1)
    features = {"a": drawn(1, 2, 5, 5), "b": drawn(1, 3, 5, 5)}
    columns = columns_of(wide, narrow.sources, 1)
    assert torch.equal(rows_of(gathered(wide, features), 3)[:, columns], rows_of(features["b"], 1))


def test_rows_are_what_a_convolution_sees():
    x, weight = drawn(1, 3, 6, 7), drawn(5, 3, 3, 3)
    expected = F.conv2d(x, weight, padding=1)[0].flatten(1).T
    torch.testing.assert_close(rows_of(x, 3) @ weight.flatten(1).T, expected, atol=1e-4, rtol=1e-4)


def test_positions_are_drawn_by_their_seed_and_half_of_them_where_objects_are_seen():
    seen = torch.zeros(1, 1, 4, 4)
    seen[0, 0, 0, 0] = 1.0
    drawn_ = drawn_positions(seen, 40, 40, 200, seed=1).tolist()
    assert drawn_ == drawn_positions(seen, 40, 40, 200, seed=1).tolist() and len(set(drawn_)) == 200
    in_corner = sum(place // 40 < 10 and place % 40 < 10 for place in drawn_)
    assert 60 <= in_corner <= 100  # of the 100 positions there, which are one in sixteen of all
    assert len(drawn_positions(torch.zeros(1, 1, 2, 2), 5, 5, 500, seed=1)) == 13


def test_a_map_gives_back_half_of_the_spread_that_least_squares_takes():
    x = drawn(4000, 1)
    y = x + drawn(4000, 1)  # half of its variance is explained: the map's root is 0.71 of y's
    found = fit(folds_of(x, y))
    assert found.r2 == pytest.approx(0.5, abs=0.05)
    assert float(np.std(x.numpy() @ found.weight)) / float(y.std()) == pytest.approx(0.5**0.25, abs=0.02)
    np.testing.assert_allclose((x.numpy() @ found.weight + found.bias).mean(), y.mean().item(), atol=1e-3)
