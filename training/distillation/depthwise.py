"""Depthwise convolutions whose gradients are cheap on a CPU.

oneDNN takes ten times as long for the gradient of a depthwise convolution if it has a stride, and for that of its
filters if they are 5x5. So a stride is taken after the convolution, which gives the same numbers, and filters larger
than 3x3 stay as they are: of a pretrained detector they are a hundredth of the weights.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_TRAINED = 3  # side of a filter


class CheapDepthwise(nn.Conv2d):
    """A depthwise convolution with the weights of another one."""

    def __init__(self, conv: nn.Conv2d) -> None:
        stride, padding = cast("tuple[int, int]", conv.stride), cast("tuple[int, int]", conv.padding)
        kernel, has_bias = cast("tuple[int, int]", conv.kernel_size), conv.bias is not None
        super().__init__(
            conv.in_channels, conv.out_channels, kernel, stride, padding, groups=conv.groups, bias=has_bias
        )
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, ceil(H/stride), ceil(W/stride))."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if self.kernel_size[0] > LARGEST_TRAINED:
            # The bias too: its gradient alone would cost as much.
            weight, bias = weight.detach(), None if bias is None else bias.detach()
        dense = F.conv2d(x, weight, bias, 1, self.padding, groups=self.groups)
        rows, columns = self.stride
        return dense if rows == columns == 1 else dense[..., ::rows, ::columns]


def cheapen(module: nn.Module) -> None:
    """Replace the depthwise convolutions inside whose gradients are dear, in place. Names of weights stay."""
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and child.groups == child.in_channels > 1 and _is_dear(child):
            setattr(module, name, CheapDepthwise(child))
        else:
            cheapen(child)


def _is_dear(conv: nn.Conv2d) -> bool:
    return conv.stride[0] > 1 or conv.kernel_size[0] > LARGEST_TRAINED
