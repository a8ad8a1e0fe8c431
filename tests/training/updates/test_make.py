"""Trained updates: what is sent is what the model has, and less is sent where bytes are dear."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError, UpdateError
from splitnet.updates.weights.weight_update import apply_weights
from training.updates.code_length import code_bits
from training.updates.make import UpdateSettings, make_update

QUICK = UpdateSettings(steps=20)


def network(classes: int = 4) -> nn.Module:
    """Return a small network with layers of each sort."""
    layers = (nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3, groups=12), nn.Conv2d(12, 24, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes))


@pytest.fixture
def old() -> nn.Module:
    torch.manual_seed(1)
    return network()


@pytest.fixture
def new(old: nn.Module) -> nn.Module:
    torch.manual_seed(2)
    changed = copy.deepcopy(old)
    with torch.no_grad():
        for one in changed.parameters():
            rows = one.reshape(len(one), -1)
            one += 0.3 * rows.std() * (torch.randn(len(one), 1) @ torch.randn(1, rows.shape[1])).reshape(one.shape)
    return changed


def base_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: one.half() for name, one in model.state_dict().items()}


def images() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(3)
    while True:
        yield torch.randn(8, 3, 9, 9, generator=generator)


def distance(new: nn.Module):
    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = new(batch)
        return (model(batch) - wanted).pow(2).mean() / wanted.var()

    return loss


def test_the_model_has_exactly_what_the_update_gives(old, new):
    model = copy.deepcopy(old)
    made = make_update(model, base_of(old), distance(new), images(), 0.3, QUICK, new.state_dict())
    applied = apply_weights(made.data, {name: one.numpy() for name, one in base_of(old).items()})
    assert applied.keys() == made.weights.keys() == model.state_dict().keys()
    for name, one in model.state_dict().items():
        assert np.array_equal(applied[name], made.weights[name])
        assert np.array_equal(applied[name].astype(np.float32), one.numpy())


def test_an_update_of_a_fraction_of_the_weights_comes_close_to_the_target(old, new):
    model, loss, batch = copy.deepcopy(old), distance(new), next(images())
    made = make_update(model, base_of(old), loss, images(), 0.003, QUICK, new.state_dict())
    assert len(made.data) < 0.3 * sum(2 * one.numel() for one in old.parameters())
    with torch.no_grad():
        assert loss(model, batch) < 0.1 * loss(old, batch)


def test_dear_bytes_make_a_small_update(old, new):
    sizes = []
    for weight in (0.003, 0.3, 1e6):
        made = make_update(copy.deepcopy(old), base_of(old), distance(new), images(), weight, QUICK, new.state_dict())
        sizes.append(len(made.data))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 60


@pytest.mark.parametrize("family", ["seeded", "basis", "sparse"])
def test_every_family_can_be_trained(family, old, new):
    settings, model = UpdateSettings(steps=8, families=("dense", family)), copy.deepcopy(old)
    made = make_update(model, base_of(old), distance(new), images(), 0.003, settings, new.state_dict())
    applied = apply_weights(made.data, {name: one.numpy() for name, one in base_of(old).items()})
    for name, one in model.state_dict().items():
        assert np.array_equal(applied[name].astype(np.float32), one.numpy())
    assert not np.array_equal(applied["3.weight"], base_of(old)["3.weight"].numpy())


def test_a_network_that_only_runs_can_be_updated(old, new):
    model = copy.deepcopy(old).requires_grad_(False)
    made = make_update(model, base_of(old), distance(new), images(), 0.3, UpdateSettings(steps=2), new.state_dict())
    assert len(made.data) > 0


def test_a_budget_is_kept(old, new):
    made = make_update(
        copy.deepcopy(old), base_of(old), distance(new), images(), 1.0, QUICK, new.state_dict(), budget_bytes=250
    )
    assert 100 < len(made.data) <= 250


def test_a_budget_that_cannot_be_kept_is_said(old, new):
    with pytest.raises(UpdateError, match="20 bytes are too few"):
        make_update(
            copy.deepcopy(old), base_of(old), distance(new), images(), 1.0, QUICK, new.state_dict(), budget_bytes=20
        )


def test_other_classes_are_sent_whole(old):
    torch.manual_seed(4)
    wanted = network(classes=2)
    model = copy.deepcopy(wanted)
    made = make_update(model, base_of(old), distance(wanted), images(), 0.03, QUICK, wanted.state_dict())
    applied = apply_weights(made.data, {name: one.numpy() for name, one in base_of(old).items()})
    assert applied["7.weight"].shape == (2, 24)
    assert np.allclose(applied["7.weight"], wanted[7].weight.detach(), atol=0.2)


def test_without_a_target_the_model_is_trained_fully_first(old, new):
    model, loss, batch = copy.deepcopy(old), distance(new), next(images())
    settings = UpdateSettings(steps=20, tuning_rate=0.01)
    make_update(model, base_of(old), loss, images(), 0.03, settings)
    with torch.no_grad():
        assert loss(model, batch) < 0.5 * loss(old, batch)


def test_settings_that_no_training_has_are_refused():
    with pytest.raises(ConfigError, match="at least one step"):
        UpdateSettings(steps=0)
    with pytest.raises(ConfigError, match="unknown families magic"):
        UpdateSettings(families=("magic",))


def test_zeros_among_zeros_cost_nothing_and_a_first_symbol_much():
    nothing = torch.zeros(1000, requires_grad=True)
    bits = code_bits(nothing)
    bits.backward()
    assert float(bits.detach()) < 1
    assert nothing.grad is not None
    few = torch.zeros(1000)
    few[:3] = 1
    few.requires_grad_(True)
    code_bits(few).backward()
    assert float(few.grad.max()) > 8 if few.grad is not None else False
