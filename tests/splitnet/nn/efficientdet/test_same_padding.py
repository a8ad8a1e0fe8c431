"""Padding as TensorFlow's, on cases worked out by hand, and folding that changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from splitnet.nn.blocks import Foldable
from splitnet.nn.efficientdet.same_padding import (
    SameConv2d,
    normalisation,
    pad_same,
    resized,
    same_conv,
    strided,
)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [
        (4, 3, 2, 0, 1),
        (5, 3, 2, 1, 1),
        (4, 5, 2, 1, 2),
        (5, 5, 2, 2, 2),
        (6, 3, 1, 1, 1),
        (6, 1, 1, 0, 0),
        (1, 3, 2, 1, 1),
    ],
)
def test_the_larger_part_of_the_padding_is_behind(size, kernel, stride, before, after):
    row = torch.arange(1.0, size + 1).reshape(1, 1, 1, size).expand(1, 1, size, size)
    padded = pad_same(row, kernel, stride)
    inside = [0.0] * before + list(range(1, size + 1)) + [0.0] * after
    assert padded.shape == (1, 1, before + size + after, before + size + after)
    assert padded[0, 0, before].tolist() == inside


def test_nothing_is_copied_where_nothing_is_padded():
    x = torch.zeros(1, 1, 4, 4)
    assert pad_same(x, 1, 1) is x


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("kernel", [3, 5])
def test_an_output_has_as_many_positions_as_strides_fit(size, kernel):
    x = torch.zeros(1, 2, size, size + 1)
    for stride in (1, 2):
        expected = strided(size, stride), strided(size + 1, stride)
        assert same_conv(2, 4, kernel, stride)(x).shape[2:] == expected


def test_a_stride_of_two_starts_at_the_first_pixel_of_an_even_side():
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.zeros_(conv.weight)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = 1  # the top left of the window
        y = conv(torch.arange(16.0).reshape(1, 1, 4, 4))
    assert y.flatten().tolist() == [0, 2, 8, 10]


def test_going_down_takes_the_largest_and_no_padding_wins_over_what_is_negative():
    x = -torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    assert resized(x, 2, 2).flatten().tolist() == [-1, -3, -9, -11]


def test_going_up_takes_the_nearest_and_an_odd_side_is_reached():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    assert resized(x, 3, 3)[0, 0].tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 4]]


def test_the_same_size_is_left_alone():
    x = torch.zeros(1, 1, 1, 1)
    assert resized(x, 1, 1) is x


class Pair(Foldable):
    pairs = (("conv", "bn"), ("absent", "bn2"))

    def __init__(self) -> None:
        super().__init__()
        self.conv = same_conv(2, 3, 3, 2, bias=False)
        self.bn = normalisation(3, fused=False)

    def forward(self, x):
        return self.bn(self.conv(x))


def test_folding_keeps_the_function_and_the_padding():
    torch.manual_seed(0)
    pair = Pair()
    pair.bn.running_mean.uniform_(-1, 1)
    pair.bn.running_var.uniform_(0.5, 2)
    pair.eval()
    x = torch.rand(1, 2, 6, 6)
    with torch.inference_mode():
        before = pair(x)
        pair.fuse()
        pair.fuse()
        after = pair(x)
    assert isinstance(pair.conv, SameConv2d) and isinstance(pair.bn, nn.Identity)
    assert set(pair.state_dict()) == {"conv.weight", "conv.bias"}
    torch.testing.assert_close(after, before)
