"""Muon: what its updates are, for one matrix, for a stack of them, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch

from training.loop.muon import Muon, is_matrix, orthogonalised


def random_matrices(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 20), (2, 20, 6)])
def test_all_singular_values_come_near_one_whatever_they_were(shape):
    stretched = random_matrices(*shape) * torch.logspace(-1, 1, shape[2])
    values = torch.linalg.svdvals(orthogonalised(stretched))
    assert values.min() > 0.3 and values.max() < 1.3


def test_the_singular_vectors_stay():
    u, _, vt = torch.linalg.svd(random_matrices(6, 6))
    found = orthogonalised((u * torch.linspace(0.5, 1.0, 6) @ vt)[None])[0]
    rotated = u.T @ found @ vt.T
    assert (rotated - rotated.diag().diag()).abs().max() < 1e-5


def test_the_length_of_the_gradient_does_not_matter():
    matrices = random_matrices(2, 5, 7)
    assert torch.allclose(orthogonalised(matrices), orthogonalised(1000 * matrices), atol=1e-4)


def test_no_gradient_at_all_gives_no_update():
    assert torch.equal(orthogonalised(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def step_of(gradient: torch.Tensor, stack: int, lr: float = 0.1) -> torch.Tensor:
    """Return by how much the first step moves a parameter."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradient))
    parameter.grad = gradient
    Muon([{"params": [parameter], "stack": stack}], lr).step()
    return parameter.detach()


def test_each_matrix_of_a_stack_moves_as_it_would_alone():
    gradient = random_matrices(2 * 4, 6, 1, 1)
    together = step_of(gradient, stack=2)
    alone = [step_of(part, stack=1) for part in gradient.chunk(2)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_a_parameter_of_three_dimensions_is_a_stack_by_itself():
    gradient = random_matrices(2, 4, 6)
    alone = [step_of(part[:, :, None, None], stack=1)[:, :, 0, 0] for part in gradient]
    assert torch.allclose(step_of(gradient, stack=2), torch.stack(alone), atol=1e-6)


def test_a_convolution_is_one_matrix_of_its_kernels():
    gradient = random_matrices(8, 4, 3, 3)
    flat = step_of(gradient.reshape(8, 36, 1, 1), stack=1)
    assert torch.allclose(step_of(gradient, stack=1).reshape(8, 36), flat[:, :, 0, 0], atol=1e-6)


def test_a_tall_matrix_moves_further_since_it_feeds_more():
    wide, tall = step_of(random_matrices(4, 16, 1, 1), 1), step_of(random_matrices(16, 4, 1, 1), 1)
    assert tall.norm() / wide.norm() == pytest.approx(2.0, rel=0.2)


def test_momentum_carries_on_and_weights_decay():
    parameter = torch.nn.Parameter(torch.ones(4, 4, 1, 1))
    optimiser = Muon([{"params": [parameter]}], lr=0.1, momentum=0.5, weight_decay=1.0)
    parameter.grad = torch.eye(4)[:, :, None, None]
    optimiser.step()
    after_one = parameter.detach().clone()
    assert after_one[0, 1].item() == pytest.approx(0.9, abs=1e-3)  # nothing but decay off the diagonal
    parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert parameter[0, 0].item() < 0.9 * after_one[0, 0].item() - 0.05


def test_a_parameter_without_gradient_stays():
    parameter = torch.nn.Parameter(torch.ones(4, 4, 1, 1))
    Muon([{"params": [parameter]}], lr=0.1).step()
    assert torch.equal(parameter, torch.ones(4, 4, 1, 1))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((48, 80, 1, 1), True), ((4, 48, 80), True), ((80, 1, 3, 3), False), ((24, 3, 4, 4), False), ((48, 80), False)],
)
def test_only_dense_convolutions_and_projections_are_matrices(shape, expected):
    assert is_matrix(torch.zeros(shape)) is expected
