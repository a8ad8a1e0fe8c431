"""Depthwise convolutions made cheap to train say what they said, under the same names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.distillation.depthwise import CheapDepthwise, cheapen


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1, groups=4), nn.Conv2d(4, 4, 3, 1, 1, groups=4, bias=False)),
        nn.Conv2d(4, 4, 5, 1, 2, groups=4),
        nn.Conv2d(4, 4, 5, 2, 2, groups=4),
    )


@pytest.mark.parametrize("size", [(16, 16), (15, 18)])
def test_it_says_the_same(size):
    plain, cheap = network(), network()
    cheapen(cheap)
    assert cheap.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(cheap(x), plain(x))


def test_only_what_is_dear_is_replaced_and_only_small_filters_learn():
    cheap = network()
    cheapen(cheap)
    replaced = [name for name, module in cheap.named_modules() if isinstance(module, CheapDepthwise)]
    assert replaced == ["1.0", "2", "3"]
    cheap(torch.randn(1, 3, 16, 16)).sum().backward()
    assert [name for name, p in cheap.named_parameters() if p.grad is None] == [
        "2.weight",
        "2.bias",
        "3.weight",
        "3.bias",
    ]


def test_gradients_are_those_of_the_plain_ones():
    plain, cheap = network(), network()
    cheapen(cheap)
    for one in (plain, cheap):
        one(torch.ones(1, 3, 16, 16)).square().sum().backward()
    for name in ("0.weight", "1.0.weight", "1.0.bias", "1.1.weight"):
        torch.testing.assert_close(cheap.get_parameter(name).grad, plain.get_parameter(name).grad)
