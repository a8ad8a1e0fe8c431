"""Building blocks of the YOLOX family, with the parameter names of its public checkpoints.

Every convolution comes in two forms: with batch normalisation (`fused=False`: what public checkpoints
hold) and with the normalisation folded into the convolution (`fused=True`: what bundles hold and what runs).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from splitnet.nn.blocks import Foldable, normalisation


class ConvBlock(Foldable):
    """Convolution, batch normalisation (unless folded) and SiLU, padded to keep the size at stride 1."""

    pairs = (("conv", "bn"),)

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        fused: bool = False,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=fused)
        self.bn = normalisation(channels_out, fused, eps=1e-3, momentum=0.03)  # as in the public checkpoints
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H/stride, W/stride)."""
        return cast(Tensor, self.act(self.bn(self.conv(x))))


class DepthwiseConvBlock(nn.Module):
    """Depthwise separable convolution: a depthwise block, then a pointwise one."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, fused: bool = False) -> None:
        super().__init__()
        self.dconv = ConvBlock(channels_in, channels_in, kernel, stride, groups=channels_in, fused=fused)
        self.pconv = ConvBlock(channels_in, channels_out, 1, fused=fused)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H/stride, W/stride)."""
        return cast(Tensor, self.pconv(self.dconv(x)))


def spatial_conv(
    channels_in: int, channels_out: int, stride: int, depthwise: bool, fused: bool
) -> ConvBlock | DepthwiseConvBlock:
    """Return the 3x3 convolution of this variant: depthwise separable or dense."""
    if depthwise:
        return DepthwiseConvBlock(channels_in, channels_out, 3, stride, fused)
    return ConvBlock(channels_in, channels_out, 3, stride, fused=fused)


class Bottleneck(nn.Module):
    """Pointwise then 3x3 convolution, added to the input if `shortcut`."""

    def __init__(self, channels: int, shortcut: bool, depthwise: bool, fused: bool) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels, channels, 1, fused=fused)
        self.conv2 = spatial_conv(channels, channels, 1, depthwise, fused)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        y = self.conv2(self.conv1(x))
        return cast(Tensor, y + x if self.shortcut else y)


class CSPLayer(nn.Module):
    """Cross-stage partial layer with three pointwise convolutions (Wang et al., arXiv 1911.11929)."""

    def __init__(
        self, channels_in: int, channels_out: int, depth: int, shortcut: bool, depthwise: bool, fused: bool
    ) -> None:
        super().__init__()
        hidden = channels_out // 2
        self.conv1 = ConvBlock(channels_in, hidden, 1, fused=fused)
        self.conv2 = ConvBlock(channels_in, hidden, 1, fused=fused)
        self.conv3 = ConvBlock(2 * hidden, channels_out, 1, fused=fused)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut, depthwise, fused) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        deep, direct = self.conv1(x), self.conv2(x)
        return cast(Tensor, self.conv3(torch.cat((self.m(deep), direct), dim=1)))


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling over windows of 5, 9 and 13 (He et al., arXiv 1406.4729)."""

    def __init__(self, channels: int, fused: bool) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = ConvBlock(channels, hidden, 1, fused=fused)
        self.m = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in (5, 9, 13))
        self.conv2 = ConvBlock(hidden * 4, channels, 1, fused=fused)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        x = self.conv1(x)
        return cast(Tensor, self.conv2(torch.cat([x, *(pool(x) for pool in self.m)], dim=1)))


class Focus(nn.Module):
    """Move 2x2 pixels into channels, then convolve."""

    def __init__(self, channels_out: int, fused: bool) -> None:
        super().__init__()
        self.conv = ConvBlock(12, channels_out, 3, fused=fused)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (N, 3, H, W) to (N, C_out, H/2, W/2)."""
        rows = (x[..., 0::2, :], x[..., 1::2, :])
        # Column by column: the order in which the public checkpoints were trained.
        patches = [row[..., column::2] for column in (0, 1) for row in rows]
        return cast(Tensor, self.conv(torch.cat(patches, dim=1)))

    @torch.no_grad()
    def merged(self) -> ConvBlock:
        """Return one convolution of the pixels themselves that gives the same, without moving them. Fused only."""
        conv = self.conv.conv
        block = ConvBlock(3, conv.out_channels, 6, stride=2, fused=True)
        for index, (column, row) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            block.conv.weight[:, :, row::2, column::2] = conv.weight[:, 3 * index : 3 * index + 3]
        assert block.conv.bias is not None and conv.bias is not None
        block.conv.bias.copy_(conv.bias)
        return block
