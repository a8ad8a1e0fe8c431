"""Convolution and pooling padded as TensorFlow's "SAME" pads, and EfficientDet's normalisation.

An output has ceil(input / stride) positions a side; where the padding is odd, the larger part is at the right and at
the bottom. With a stride of 2 that is not the padding of torch, and a checkpoint knows the difference.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.nn import blocks


class SameConv2d(nn.Conv2d):
    """A convolution that pads its input for itself."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, ceil(H/stride), ceil(W/stride))."""
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]))


def same_conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = True
) -> nn.Conv2d:
    """Return a convolution with "SAME" padding; at stride 1 that is torch's own, which costs no copy."""
    if stride == 1:
        return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, groups=groups, bias=bias)
    return SameConv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=bias)


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (N, C, H, W) for a window of a stride, on the right and at the bottom by one more where it must be."""
    top, bottom = _padding(x.shape[2], kernel, stride)
    left, right = _padding(x.shape[3], kernel, stride)
    return F.pad(x, (left, right, top, bottom), value=value) if top + bottom + left + right else x


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((strided(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def strided(size: int, stride: int = 2) -> int:
    """Return the positions that a stride leaves of `size`: rounded up."""
    return -(-size // stride)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bring (N, C, H, W) to another level of a pyramid: the largest of 3x3 on the way down, the nearest on the way up.

    Down goes one level at a time; nothing happens if the size is right, as between levels of a single position.
    """
    if x.shape[2] > height or x.shape[3] > width:
        return F.max_pool2d(pad_same(x, 3, 2, float("-inf")), 3, 2)
    if x.shape[2] < height or x.shape[3] < width:
        return F.interpolate(x, size=(height, width), mode="nearest")
    return x


def normalisation(channels: int, fused: bool) -> nn.Module:
    """Return a batch normalisation, or nothing in its place if it is folded into the convolution before it."""
    return blocks.normalisation(channels, fused, eps=1e-3, momentum=0.01)
