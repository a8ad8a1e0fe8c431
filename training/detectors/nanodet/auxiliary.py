"""NanoDet-Plus as it is trained: beside its own head a larger one, which decides what is to be learnt where.

The large head reads the pyramid and a second one, made for it alone. From the start it knows better than the small one
which points suit an object. It has the public project's names, and does not run where the detector does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from splitnet.nn.detector import RAW
from splitnet.nn.nanodet.ghost_pan import GhostPAN
from splitnet.nn.nanodet.head import BINS, SIDES, STRIDES
from splitnet.nn.nanodet.layers import activation
from splitnet.nn.nanodet.network import NECK_INPUTS, PYRAMID, NanoDet

LAYERS = 4  # of each tower
GROUPS = 32  # of the group normalisation
PARTS = ("aux_fpn.", "aux_head.")


class GroupBlock(nn.Module):
    """3x3 convolution, group normalisation and rectifier."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gn = nn.GroupNorm(GROUPS, channels)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return cast(Tensor, self.act(self.gn(self.conv(x))))


class Scale(nn.Module):
    """A factor that is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to the same shape."""
        return x * self.scale


class AuxiliaryHead(nn.Module):
    """Two towers that all levels share; its predictions are those of `nanodet.head.Head`."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.cls_convs = nn.ModuleList(GroupBlock(channels) for _ in range(LAYERS))
        self.reg_convs = nn.ModuleList(GroupBlock(channels) for _ in range(LAYERS))
        self.gfl_cls = nn.Conv2d(channels, classes, 3, padding=1)
        self.gfl_reg = nn.Conv2d(channels, SIDES * BINS, 3, padding=1)
        self.scales = nn.ModuleList(Scale() for _ in STRIDES)

    def forward(self, pyramid: tuple[Tensor, ...]) -> Tensor:
        """Return raw predictions (N, A, classes + 32)."""
        levels = [self._level(x, scale).flatten(2) for x, scale in zip(pyramid, self.scales, strict=True)]
        return torch.cat(levels, dim=2).transpose(1, 2)

    def _level(self, x: Tensor, scale: nn.Module) -> Tensor:
        classes, boxes = x, x
        for of_classes, of_boxes in zip(self.cls_convs, self.reg_convs, strict=True):
            classes, boxes = of_classes(classes), of_boxes(boxes)
        return torch.cat((self.gfl_cls(classes), scale(self.gfl_reg(boxes))), dim=1)


class TrainedNanoDet(NanoDet):
    """A whole detector with the auxiliary head, which only speaks in training mode."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__(name, classes, fused=False)
        inputs = tuple(self.spec.backbone.channels(stage) for stage in NECK_INPUTS)
        self.aux_fpn = GhostPAN(cast("tuple[int, int, int]", inputs), self.spec.channels, fused=False)
        self.aux_head = AuxiliaryHead(2 * self.spec.channels, classes)

    def trace(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return everything on the way by name; in training mode "raw" is (N, 2A, ...), the auxiliary head's behind."""
        computed = super().trace(features)
        if self.training:
            beside = self.aux_fpn(tuple(computed[stage] for stage in NECK_INPUTS))
            both = tuple(torch.cat((computed[name], x), dim=1) for name, x in zip(PYRAMID, beside, strict=True))
            computed[RAW] = torch.cat((computed[RAW], self.aux_head(both)), dim=1)
        return computed

    def plain(self) -> NanoDet:
        """Return the detector alone, with copies of its weights."""
        detector = NanoDet(self.name, self.head.classes, fused=False)
        detector.load_state_dict({k: v for k, v in self.state_dict().items() if not k.startswith(PARTS)})
        return detector
