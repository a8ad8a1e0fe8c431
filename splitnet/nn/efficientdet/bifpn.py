"""EfficientDet's bidirectional feature pyramid with fast normalised fusion (Tan et al., arXiv 1911.09070, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from splitnet.nn.blocks import Foldable
from splitnet.nn.efficientdet.same_padding import normalisation, resized, same_conv, strided

LEVELS = (3, 4, 5, 6, 7)  # strides are powers of two
_EPS = 1e-4  # keeps a sum of weights from being zero


class SeparableConv(Foldable):
    """A 3x3 depthwise convolution and a pointwise one, normalised behind both or not at all."""

    pairs = (("conv_pw", "bn"),)

    def __init__(self, channels_in: int, channels_out: int, normalise: bool = False, fused: bool = False) -> None:
        super().__init__()
        self.conv_dw = same_conv(channels_in, channels_in, 3, groups=channels_in, bias=False)
        self.conv_pw = same_conv(channels_in, channels_out, 1)  # with a bias, as in the public checkpoints
        self.bn = normalisation(channels_out, fused or not normalise)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        y: Tensor = self.bn(self.conv_pw(self.conv_dw(x)))
        return y


class _Projection(Foldable):
    """A pointwise convolution that brings a stage to the pyramid's channels."""

    pairs = (("conv", "bn"),)

    def __init__(self, channels_in: int, channels_out: int, fused: bool) -> None:
        super().__init__()
        self.conv = same_conv(channels_in, channels_out, 1)
        self.bn = normalisation(channels_out, fused)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class _Lateral(nn.Module):
    """How one tensor comes to a node: by a projection, or, having the pyramid's channels already, as it is."""

    def __init__(self, channels_in: int, channels_out: int, fused: bool) -> None:
        super().__init__()
        is_same = channels_in == channels_out
        self.conv: nn.Module = nn.Identity() if is_same else _Projection(channels_in, channels_out, fused)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return resized(self.conv(x), height, width)


class _Combine(nn.Module):
    """The weighted mean of a node's inputs, brought to its size; a weight below zero counts as zero."""

    def __init__(self, inputs: Sequence[int], sizes: Sequence[int], channels: int, fused: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({str(i): _Lateral(sizes[i], channels, fused) for i in inputs})
        self.edge_weights = nn.Parameter(torch.ones(len(inputs)))

    def forward(self, tensors: Sequence[Tensor], height: int, width: int) -> Tensor:
        weights = self.edge_weights.relu()
        shares = weights / (weights.sum() + _EPS)
        fitted = (lateral(tensors[int(i)], height, width) for i, lateral in self.resample.items())
        return torch.stack([share * x for share, x in zip(shares, fitted, strict=True)]).sum(dim=0)


class _Node(nn.Module):
    """Inputs combined, activated and convolved."""

    def __init__(self, inputs: Sequence[int], sizes: Sequence[int], channels: int, fused: bool) -> None:
        super().__init__()
        self.combine = _Combine(inputs, sizes, channels, fused)
        self.after_combine = nn.Sequential()
        self.after_combine.add_module("act", nn.SiLU(inplace=True))
        self.after_combine.add_module("conv", SeparableConv(channels, channels, normalise=True, fused=fused))

    def forward(self, tensors: Sequence[Tensor], height: int, width: int) -> Tensor:
        y: Tensor = self.after_combine(self.combine(tensors, height, width))
        return y


def cell_nodes() -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return the nodes of a cell in order: the place of their level in LEVELS, and which tensors they combine.

    Tensors are numbered: the cell's inputs, finest first, then the nodes. Down from the coarsest level each node takes
    its level's input and the node above; up again, each its level's input and node and the node below.
    """
    count = len(LEVELS)
    at_level = [[i] for i in range(count)]
    found: list[tuple[int, tuple[int, ...]]] = []
    for level in range(count - 2, -1, -1):
        found.append((level, (at_level[level][-1], at_level[level + 1][-1])))
        at_level[level].append(count + len(found) - 1)
    for level in range(1, count):
        found.append((level, (*at_level[level], at_level[level - 1][-1])))
        at_level[level].append(count + len(found) - 1)
    return tuple(found)


class _Cell(nn.Module):
    """One time down the pyramid and up again."""

    def __init__(self, inputs: Sequence[int], channels: int, fused: bool) -> None:
        super().__init__()
        plan = cell_nodes()
        sizes = [*inputs, *(channels for _ in plan)]
        self.fnode = nn.ModuleList(_Node(tensors, sizes, channels, fused) for _, tensors in plan)
        self.places = [level for level, _ in plan]

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[Tensor, ...]:
        tensors = list(pyramid)
        for level, node in zip(self.places, self.fnode, strict=True):
            tensors.append(node(tensors, *pyramid[level].shape[2:]))
        return tuple(tensors[-len(LEVELS) :])


class BiFPN(nn.Module):
    """Features at strides 8, 16 and 32 to a pyramid at strides 8 to 128.

    inputs: their channels. channels: of the pyramid. cells: how often it is fused.
    """

    def __init__(self, inputs: tuple[int, ...], channels: int, cells: int, fused: bool) -> None:
        super().__init__()
        widths = [*inputs, *(channels for _ in LEVELS[len(inputs) :])]
        # Named by the place of the level, as the public checkpoints do.
        self.resample = nn.ModuleDict(
            {str(i): _Lateral(widths[i - 1], channels, fused) for i in range(len(inputs), len(LEVELS))}
        )
        uniform = [channels] * len(LEVELS)
        self.cell = nn.Sequential(*(_Cell(uniform if i else widths, channels, fused) for i in range(cells)))

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Map (N, C, H, W) of the stages, finest first, to all levels (N, channels, ...)."""
        pyramid = features
        for coarser in self.resample.values():
            last = pyramid[-1]
            pyramid = (*pyramid, coarser(last, strided(last.shape[2]), strided(last.shape[3])))
        fused: tuple[Tensor, ...] = self.cell(pyramid)
        return fused
