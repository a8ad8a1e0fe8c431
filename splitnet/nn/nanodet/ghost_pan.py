"""The neck of NanoDet-Plus: path aggregation (arXiv 1803.01534) by ghost bottlenecks (Han et al., arXiv 1911.11907)."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.nn.blocks import normalisation
from splitnet.nn.nanodet.layers import Chain, ConvBlock, SeparableBlock, activation, depthwise, pointwise

KERNEL = 5  # of the depthwise convolutions


class GhostModule(nn.Module):
    """A pointwise convolution makes half of the channels, a depthwise one makes the other half out of them."""

    def __init__(self, channels_in: int, channels_out: int, rectified: bool, fused: bool) -> None:
        super().__init__()
        half = channels_out // 2
        end: list[nn.Module] = [activation()] if rectified else []
        self.primary_conv = Chain(pointwise(channels_in, half, fused), normalisation(half, fused), *end)
        end = [activation()] if rectified else []
        self.cheap_operation = Chain(depthwise(half, 3, 1, fused), normalisation(half, fused), *end)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        primary = self.primary_conv(x)
        return torch.cat((primary, self.cheap_operation(primary)), dim=1)


class GhostBottleneck(nn.Module):
    """Two ghost modules, and a separable convolution beside them."""

    def __init__(self, channels_in: int, channels: int, fused: bool) -> None:
        super().__init__()
        self.ghost1 = GhostModule(channels_in, channels, True, fused)
        self.ghost2 = GhostModule(channels, channels, False, fused)
        self.shortcut = Chain(
            depthwise(channels_in, KERNEL, 1, fused),
            normalisation(channels_in, fused),
            pointwise(channels_in, channels, fused),
            normalisation(channels, fused),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C, H, W)."""
        return cast(Tensor, self.ghost2(self.ghost1(x)) + self.shortcut(x))


class GhostBlocks(nn.Module):
    """The bottlenecks that merge two levels: here always one."""

    def __init__(self, channels: int, fused: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(GhostBottleneck(2 * channels, channels, fused))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Merge two tensors (N, C, H, W) into one."""
        return cast(Tensor, self.blocks(torch.cat((a, b), dim=1)))


class GhostPAN(nn.Module):
    """Fuses three levels of the backbone, top-down and bottom-up, and adds a coarser fourth."""

    def __init__(self, inputs: tuple[int, int, int], channels: int, fused: bool) -> None:
        """Take the channels of the backbone's levels, the finest first, and those of the pyramid."""
        super().__init__()

        def down(stride: int = 2) -> SeparableBlock:
            return SeparableBlock(channels, channels, KERNEL, stride, fused)

        self.reduce_layers = nn.ModuleList(ConvBlock(each, channels, 1, fused) for each in inputs)
        self.top_down_blocks = nn.ModuleList(GhostBlocks(channels, fused) for _ in range(2))
        self.downsamples = nn.ModuleList(down() for _ in range(2))
        self.bottom_up_blocks = nn.ModuleList(GhostBlocks(channels, fused) for _ in range(2))
        self.extra_lvl_in_conv = nn.ModuleList([down()])
        self.extra_lvl_out_conv = nn.ModuleList([down()])

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Map features at strides 8, 16 and 32 to the pyramid at 8, 16, 32 and 64, each (N, C, H, W)."""
        reduced = [layer(x) for layer, x in zip(self.reduce_layers, levels, strict=True)]
        downwards = [reduced[2]]
        for block, x in zip(self.top_down_blocks, (reduced[1], reduced[0]), strict=True):
            downwards.append(block(doubled(downwards[-1]), x))
        pyramid = [downwards[2]]
        for down, block, x in zip(self.downsamples, self.bottom_up_blocks, (downwards[1], downwards[0]), strict=True):
            pyramid.append(block(down(pyramid[-1]), x))
        return (*pyramid, self.extra_lvl_in_conv[0](reduced[2]) + self.extra_lvl_out_conv[0](pyramid[-1]))


def doubled(x: Tensor) -> Tensor:
    """Return features (N, C, H, W) at half the stride, interpolated linearly."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")
