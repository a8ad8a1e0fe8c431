"""The head of NanoDet-Plus: class scores and distances to a box's sides, each distance a distribution.

Generalised focal loss (Li et al., arXiv 2006.04388) without a centre score, a light tower for each level.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitnet.nn.nanodet.layers import SeparableBlock

STRIDES = (8, 16, 32, 64)
BINS = 8  # of the distribution of a distance: 0 to 7 strides
SIDES = 4  # left, top, right, bottom
TOWER_LAYERS = 2
KERNEL = 5


class Head(nn.Module):
    """One tower and one prediction layer for each level."""

    def __init__(self, channels: int, classes: int, fused: bool) -> None:
        super().__init__()
        self.classes = classes
        self.cls_convs = nn.ModuleList(_tower(channels, fused) for _ in STRIDES)
        self.gfl_cls = nn.ModuleList(nn.Conv2d(channels, classes + SIDES * BINS, 1) for _ in STRIDES)

    def forward(self, pyramid: tuple[Tensor, ...]) -> Tensor:
        """Return raw predictions (N, A, classes + 32): logits of the classes, then of the bins of each side."""
        levels = [self._level(i, x).flatten(2) for i, x in enumerate(pyramid)]
        return torch.cat(levels, dim=2).transpose(1, 2)

    def _level(self, i: int, x: Tensor) -> Tensor:
        for layer in self.cls_convs[i]:  # type: ignore[attr-defined]
            x = layer(x)
        found: Tensor = self.gfl_cls[i](x)
        return found


def _tower(channels: int, fused: bool) -> nn.ModuleList:
    return nn.ModuleList(SeparableBlock(channels, channels, KERNEL, 1, fused) for _ in range(TOWER_LAYERS))
