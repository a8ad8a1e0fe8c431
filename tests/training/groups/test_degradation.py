"""Parts that are lost: dropout in training, a plan for spare devices, what is predicted in their place."""

from __future__ import annotations

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.groups.filling import RIDGE, Filling
from training.groups import imputer
from training.groups.imputer import fit_imputer
from training.groups.lost_parts import by_closed_form, by_mean, by_network, lost_parts
from training.groups.replication import replication_plan
from training.groups.students import kept_parts, with_dropout

CHANNELS = [[0, 1], [2, 3]]


def features(count: int = 2000) -> torch.Tensor:
    """Return features (count, 4) whose second half follows from the first."""
    known = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    return torch.cat([known, known @ torch.tensor([[2.0, 1.0], [-1.0, 0.5]]) + 3], 1)


def test_every_image_keeps_a_part_and_the_rest_goes_as_often_as_told():
    kept = kept_parts(20_000, 4, 0.25, torch.Generator().manual_seed(0))
    assert kept.any(1).all()
    assert kept.float().mean().item() == pytest.approx(0.75 + 0.25**4 / 4, abs=0.01)
    assert kept_parts(500, 2, 0.99, torch.Generator().manual_seed(0)).any(1).all()
    assert kept_parts(50, 3, 0.0, torch.Generator().manual_seed(0)).all()


def test_the_mean_of_the_batch_stands_for_a_part_that_was_taken_away():
    parts = [torch.tensor([[1.0], [3.0]]), torch.tensor([[10.0], [30.0]])]
    found = with_dropout(parts, torch.tensor([[True, False], [False, True]]))
    assert found.tolist() == [[1.0, 20.0], [2.0, 30.0]]


def test_spare_devices_make_the_parts_whose_loss_costs_most():
    assert replication_plan(4, [1, 5, 2, 5]) == (1, 2, 3, 4)
    assert replication_plan(5, [1, 5, 2, 5]) == (1, 2, 3, 4, 2)
    assert replication_plan(9, [1, 5, 2, 5]) == (1, 2, 3, 4, 2, 4, 3, 1, 2)
    with pytest.raises(ConfigError, match="3 devices cannot make 4 parts"):
        replication_plan(3, [1, 1, 1, 1])


def test_the_closed_form_is_the_ridge_regression_on_what_came():
    samples = features().double()
    filling = Filling(4)
    filling.mean.copy_(samples.mean(0))
    filling.covariance.copy_(samples.T.cov())
    found = by_closed_form(filling)(samples.float(), torch.tensor([True, True, False, False]))
    centred = samples - samples.mean(0)
    own = centred[:, :2].T @ centred[:, :2] / (len(samples) - 1)
    own += RIDGE * own.diagonal().mean() * torch.eye(2)
    weights = torch.linalg.solve(own, centred[:, :2].T @ centred[:, 2:] / (len(samples) - 1))
    assert torch.allclose(found[:, 2:].double(), centred[:, :2] @ weights + samples.mean(0)[2:], atol=1e-4)
    assert (found[:, :2] == samples.float()[:, :2]).all()


def test_what_follows_from_the_parts_that_came_is_filled_in_better_than_by_the_mean(monkeypatch):
    samples = features()
    labels = (samples[:, 2] > 3).long()
    dense = torch.nn.Linear(4, 2)
    with torch.no_grad():
        dense.weight.copy_(torch.tensor([[0.0, 0, -1, 0], [0.0, 0, 1, 0]]))
        dense.bias.copy_(torch.tensor([3.0, -3.0]))
    monkeypatch.setattr(imputer, "BATCH", 64)
    network = by_network(fit_imputer(samples, CHANNELS, 0.5, seed=0))
    by_fill = {
        name: lost_parts(samples, labels, CHANNELS, dense, fill)
        for name, fill in {"mean": by_mean(samples.mean(0)), "network": network}.items()
    }
    assert [one.lost for one in by_fill["mean"]] == [0, 1]
    assert by_fill["mean"][0].mean == 100.0 and by_fill["mean"][1].of_sets[(1,)] == 100.0
    assert by_fill["mean"][1].worst < 60 < 90 < by_fill["network"][1].worst


def test_the_imputer_keeps_to_its_seed_and_weighs_15_kilobytes(monkeypatch):
    monkeypatch.setattr(imputer, "STEPS", 3)
    samples = torch.randn(300, 256, generator=torch.Generator().manual_seed(1))
    channels = [list(range(part, part + 64)) for part in range(0, 256, 64)]
    one, two = (fit_imputer(samples, channels, 0.25, seed=4) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert 2 * sum(p.numel() for p in one.parameters()) == 14_988
