"""The moving average of a network, and its part of a checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch

from training.loop.moving_average import average_state, load_average, moving_average


class Counter(torch.nn.Module):
    """A parameter, a buffer and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.0]))
        self.register_buffer("mean", torch.tensor([0.0]))
        self.register_buffer("count", torch.tensor(0))

    def set(self, value: float) -> None:
        with torch.no_grad():
            self.weight.fill_(value)
            self.mean.fill_(-value)
            self.count.fill_(int(value))


def test_the_average_moves_fast_at_first():
    module = Counter()
    average = moving_average(module)
    module.set(1.0)
    average.update_parameters(module)  # decay 1/11
    assert average.module.state_dict()["weight"].item() == pytest.approx(10 / 11)
    module.set(2.0)
    average.update_parameters(module)  # decay 2/12
    expected = 10 / 11 * 2 / 12 + 2.0 * 10 / 12
    assert average.module.state_dict()["weight"].item() == pytest.approx(expected)
    assert average.module.state_dict()["mean"].item() == pytest.approx(-expected)
    assert average.module.state_dict()["count"].item() == 2  # whole numbers are copied


def test_the_average_moves_slowly_in_the_end():
    module = Counter()
    average = moving_average(module, decay=0.9)
    average.n_averaged.fill_(1_000_000)
    module.set(1.0)
    average.update_parameters(module)
    assert average.module.state_dict()["weight"].item() == pytest.approx(0.1)


def test_the_average_does_not_follow_the_module_by_itself():
    module = Counter()
    average = moving_average(module)
    module.set(5.0)
    assert average.module.state_dict()["weight"].item() == 0.0


def test_a_loaded_average_goes_on_where_the_stored_one_was():
    module, other = Counter(), Counter()
    stored, loaded = moving_average(module), moving_average(other)
    for value in (1.0, 4.0):
        module.set(value)
        stored.update_parameters(module)
    load_average(loaded, copy.deepcopy(average_state(stored)))
    for average in (stored, loaded):
        average.update_parameters(module)
    assert average_state(loaded)["updates"] == average_state(stored)["updates"] == 3
    for name, value in average_state(stored)["average"].items():
        assert torch.equal(average_state(loaded)["average"][name], value)


def test_an_average_is_stored_under_the_names_of_the_module():
    module = Counter()
    state = average_state(moving_average(module))
    assert state["updates"] == 0
    assert state["average"].keys() == module.state_dict().keys()
