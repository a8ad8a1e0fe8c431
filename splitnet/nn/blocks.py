"""Blocks that families of detectors and kinds of encoders share: normalisation that can be folded away, memory layout.

A convolution with a normalisation behind it comes in two forms. With batch normalisation (`fused=False`) it is what
public checkpoints hold. With the normalisation folded into it (`fused=True`) it is what bundles hold and what runs.
"""

from __future__ import annotations

import copy
from typing import ClassVar, TypeVar

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


def normalisation(channels: int, fused: bool, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Return a batch normalisation, or nothing in its place if it is folded into the convolution before it."""
    return nn.Identity() if fused else nn.BatchNorm2d(channels, eps=eps, momentum=momentum)


class Foldable(nn.Module):
    """A module with convolutions and the normalisations behind them."""

    pairs: ClassVar[tuple[tuple[str, str], ...]] = ()  # attributes: convolution, normalisation

    def fuse(self) -> None:
        """Fold the running statistics into the convolutions; no-op where that is done already."""
        for convolution, norm in self.pairs:
            layer, bn = getattr(self, convolution, None), getattr(self, norm, None)
            if isinstance(layer, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                setattr(self, convolution, fold_batch_norm(layer, bn))
                setattr(self, norm, nn.Identity())


def fuse_all(network: M) -> M:
    """Fold every batch normalisation of a network's foldable modules, in place; returns it."""
    for module in network.modules():
        if isinstance(module, Foldable):
            module.fuse()
    return network


@torch.no_grad()
def fold_batch_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution with bias, of the same class, that equals `bn(conv(x))` in evaluation mode.

    Both are left as they are, in training or not.
    """
    folded = fuse_conv_bn_eval(copy.deepcopy(conv).eval(), copy.deepcopy(bn).eval())
    return folded.requires_grad_(conv.weight.requires_grad)


def place(module: M, device: torch.device) -> M:
    """Move a module to a device, its convolutions channels last, the layout they are fastest in; returns it."""
    module.to(device)
    convert_conv2d_weight_memory_format(module, torch.channels_last)
    return module
