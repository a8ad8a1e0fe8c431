"""A classifier's part as it is trained: `PooledConv` with batch normalisation, which is folded away in the end."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.groups.part_kinds import PooledConv, PooledConvSpec
from splitnet.nn.macs import count_macs, parameter_count
from splitnet.nn.normalise import Normalise
from training.groups.teacher import pooled, positive_normalisation


class TrainedPooledConv(nn.Module):
    """Maps BGR images (N, 3, S, S) float32 0..255, of any S from 16 on, to a part (N, C)."""

    def __init__(self, spec: PooledConvSpec) -> None:
        super().__init__()
        self.spec = spec
        deployed = PooledConv(spec)
        self.normalise: Normalise = deployed.normalise
        self.layers = nn.ModuleList([deployed.stem, deployed.middle, deployed.wide])
        self.norms = nn.ModuleList(positive_normalisation(layer.out_channels) for layer in self._convolutions())
        self.out = deployed.out

    def forward(self, image: Tensor) -> Tensor:
        """Map images to a part."""
        x = self.normalise(image)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(F.max_pool2d(layer(x), 2)))
        return pooled(cast(Tensor, self.out(x)))

    @torch.no_grad()
    def folded(self) -> PooledConv:
        """Return the network that a device runs. A normalisation without a scale may go before the pooling."""
        deployed = PooledConv(self.spec)
        targets = (deployed.stem, deployed.middle, deployed.wide)
        for target, layer, norm in zip(targets, self._convolutions(), self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm2d)
            fused = nn.utils.fusion.fuse_conv_bn_eval(layer.eval(), norm.eval())
            target.load_state_dict(fused.state_dict())
        deployed.out.load_state_dict(self.out.state_dict())
        return deployed.eval()

    def _convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]


def cost_of(spec: PooledConvSpec) -> tuple[int, float]:
    """Return parameters and MMACs of a part's network, for one image."""
    network = spec.make()
    image = torch.zeros(1, 3, spec.stride, spec.stride)
    return parameter_count(network), count_macs(network, lambda: network(image)) / 1e6
