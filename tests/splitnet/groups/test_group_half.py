"""What a server makes of a group's parts, and what stands for those that have not come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from splitnet.groups.filling import Filling
from splitnet.groups.group_bundle import load_group_server
from tests.support.tiny_group import PARTS


@dataclass(frozen=True)
class Part:
    symbols: np.ndarray
    quality: int = 0


@pytest.fixture(scope="module")
def half(tiny_group):
    return load_group_server(tiny_group).half


def parts(*numbers: int, height: int = 4, width: int = 4, quality: int = 0) -> dict[int, Part]:
    return {number: Part(np.full((4, height, width), number, np.int16), quality) for number in numbers}


def test_the_parts_go_to_their_channels_with_the_gains_of_their_quality(half):
    found = half.latent({**parts(1), **parts(2, quality=1), **parts(3, quality=2)})
    assert found.shape == (12, 4, 4)
    assert found[:, 0, 0].tolist() == [2.0, 2.0, 1.5] * 4  # 1 / 0.5, 2 / 1, 3 / 2


def test_channels_that_nothing_is_known_of_are_filled_with_their_mean(half):
    found = half.latent(parts(1, 3))
    assert found[1::3, 0, 0].tolist() == pytest.approx(torch.linspace(-1, 1, 12)[1::3].tolist(), abs=1e-3)


def test_outside_of_the_canvas_nothing_is_filled_in(half):
    found = half.latent(parts(1, height=2, width=3))
    assert found[:, 2:].abs().max() == 0 and found[:, :, 3:].abs().max() == 0
    assert found[1, :2, :3].unique().numel() == 1


def test_every_set_of_parts_gives_an_answer(half):
    sets = [parts(*(n for n in range(1, PARTS + 1) if mask >> (n - 1) & 1)) for mask in range(1, 1 << PARTS)]
    assert len(half.answers(sets)) == len(sets)


def test_a_channel_that_follows_from_others_is_filled_with_what_follows():
    torch.manual_seed(0)
    known = torch.randn(10_000, 2, dtype=torch.double)
    third = 3 * known[:, 0] - known[:, 1] + 5
    samples = torch.cat([known, third[:, None]], 1)
    filling = Filling(3)
    filling.mean.copy_(samples.mean(0))
    filling.covariance.copy_(samples.T.cov())
    latent = torch.tensor([1.0, 2.0, 99.0])[:, None, None]
    filled = filling.fill(latent, torch.tensor([True, True, False]))
    assert filled.ravel().tolist() == pytest.approx([1.0, 2.0, 6.0], abs=0.02)
    assert latent[2, 0, 0] == 99.0
    assert filling.fill(latent, torch.tensor([True] * 3)) is latent


def test_what_is_kept_of_sets_of_lost_parts_is_bounded():
    filling = Filling(8)
    for number in range(1, 255):
        filling.fill(torch.zeros(8, 1, 1), torch.tensor([bool(number >> i & 1) for i in range(8)]))
    assert len(filling._weights) <= 64
