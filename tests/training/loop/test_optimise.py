"""The step that every training takes."""

import logging

import pytest
import torch

from training.loop.optimise import MAX_GRADIENT_NORM, apply_gradients, set_learning_rate


def make() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    module = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(module.weight)
    return module, torch.optim.SGD([{"params": list(module.parameters()), "peak": 0.5}], lr=0.5)


def test_a_step_goes_down_the_gradient():
    module, optimiser = make()
    assert apply_gradients(module(torch.tensor([[1.0, 0.0]])).sum(), module, optimiser)
    assert module.weight.tolist() == [[0.5, 1.0]]


def test_a_steep_gradient_is_cut_to_its_greatest_length():
    module, optimiser = make()
    assert apply_gradients(module(torch.tensor([[3e6, 4e6]])).sum(), module, optimiser)
    step = 0.5 * MAX_GRADIENT_NORM
    assert module.weight[0].tolist() == pytest.approx([1 - 0.6 * step, 1 - 0.8 * step], rel=1e-4)


@pytest.mark.parametrize("wild", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(wild, caplog):
    module, optimiser = make()
    with caplog.at_level(logging.WARNING):
        assert not apply_gradients(module(torch.tensor([[wild, 1.0]])).sum(), module, optimiser)
    assert module.weight.tolist() == [[1.0, 1.0]]
    assert "not finite" in caplog.text


def test_gradients_of_an_earlier_step_are_forgotten():
    module, optimiser = make()
    apply_gradients(module(torch.tensor([[float("nan"), 1.0]])).sum(), module, optimiser)
    assert apply_gradients(module(torch.tensor([[1.0, 0.0]])).sum(), module, optimiser)
    assert module.weight.tolist() == [[0.5, 1.0]]


def test_each_group_has_its_own_peak():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "peak": peak} for peak in (1e-2, 1e-4)]
    optimiser = torch.optim.AdamW(groups, lr=1.0)
    set_learning_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [5e-3, 5e-5]
