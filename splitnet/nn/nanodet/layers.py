"""Building blocks of NanoDet-Plus, with the parameter names of its public checkpoints.

Every convolution comes in two forms: with batch normalisation (`fused=False`: what public checkpoints hold) and with
the normalisation folded into the convolution (`fused=True`: what bundles hold and what runs).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from splitnet.nn.blocks import Foldable, normalisation

LONGEST_CHAIN = 8
NEGATIVE_SLOPE = 0.1  # of the rectifier, everywhere


class Chain(nn.Sequential, Foldable):
    """Layers in a row, some of them convolutions followed by their normalisation."""

    pairs = tuple((str(i), str(i + 1)) for i in range(LONGEST_CHAIN))


def activation() -> nn.LeakyReLU:
    """Return the rectifier that follows most convolutions."""
    return nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


def pointwise(channels_in: int, channels_out: int, fused: bool) -> nn.Conv2d:
    """Return a 1x1 convolution; it has a bias where normalisation is folded into it."""
    return nn.Conv2d(channels_in, channels_out, 1, bias=fused)


def depthwise(channels: int, kernel: int, stride: int, fused: bool) -> nn.Conv2d:
    """Return a depthwise convolution that keeps the size at stride 1."""
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=fused)


class ConvBlock(Foldable):
    """Convolution, normalisation and rectifier."""

    pairs = (("conv", "bn"),)

    def __init__(self, channels_in: int, channels_out: int, kernel: int, fused: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=fused)
        self.bn = normalisation(channels_out, fused)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        return cast(Tensor, self.act(self.bn(self.conv(x))))


class SeparableBlock(Foldable):
    """Depthwise, then pointwise convolution, each with normalisation and rectifier."""

    pairs = (("depthwise", "dwnorm"), ("pointwise", "pwnorm"))

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, fused: bool) -> None:
        super().__init__()
        self.depthwise = depthwise(channels_in, kernel, stride, fused)
        self.dwnorm = normalisation(channels_in, fused)
        self.pointwise = pointwise(channels_in, channels_out, fused)
        self.pwnorm = normalisation(channels_out, fused)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, ceil(H/stride), ceil(W/stride))."""
        x = self.act(self.dwnorm(self.depthwise(x)))
        return cast(Tensor, self.act(self.pwnorm(self.pointwise(x))))
