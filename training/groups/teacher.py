"""The teacher of a group of classifiers: a convolutional network that learns CIFAR-10 in few epochs.

After the published recipe of K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (airbench): a first
layer of whitening filters, three blocks with max pooling, GELU and batch normalisation, Nesterov's momentum, smoothed
labels, flips that alternate, and a slow average of the weights. Fewer channels and a deeper last block than published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.groups.part_kinds import CIFAR_DEVIATION, CIFAR_MEAN
from splitnet.nn.normalise import Normalise

WHITENING = 24  # filters: the 12 principal patches of 2x2 pixels, and their negatives
HEAD_SCALE = 1 / 9


@dataclass(frozen=True)
class TeacherSpec:
    """Channels of the three blocks, and convolutions of the last one behind its first."""

    channels: Sequence[int] = (32, 96, 256)
    deep: int = 2
    classes: int = 10

    @property
    def filters(self) -> int:
        """Filters of the last convolution, which the devices share out."""
        return self.channels[-1]


class Teacher(nn.Module):
    """Maps BGR images (N, 3, S, S) float32 0..255 to logits (N, classes)."""

    def __init__(self, spec: TeacherSpec) -> None:
        super().__init__()
        self.spec = spec
        first, second, third = spec.channels
        self.normalise = Normalise(CIFAR_MEAN, CIFAR_DEVIATION)
        self.whiten = nn.Conv2d(3, WHITENING, 2)
        self.whiten.weight.requires_grad_(False)
        self.blocks = nn.ModuleList([_Block(WHITENING, first), _Block(first, second), _Block(second, third, spec.deep)])
        self.head = nn.Linear(third, spec.classes, bias=False)

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature maps (N, filters, s, s)."""
        x = F.gelu(self.whiten(self.normalise(image)))
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, image: Tensor) -> Tensor:
        """Map images to logits."""
        return self.logits(pooled(self.features(image)))

    def logits(self, features: Tensor) -> Tensor:
        """Map pooled features (N, filters) to logits."""
        return cast(Tensor, self.head(features)) * HEAD_SCALE

    @torch.no_grad()
    def set_whitening(self, images: Tensor) -> None:
        """Set the first layer by the principal patches of images (N, 3, S, S)."""
        patches = self.normalise(images.float()).unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5)
        flat = patches.reshape(-1, 12).double()
        variances, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
        filters = (axes / torch.sqrt(variances + 5e-4)).T.reshape(-1, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


def pooled(maps: Tensor) -> Tensor:
    """Return the largest value of each feature map (N, C, s, s), as (N, C)."""
    return maps.amax((2, 3))


def positive_normalisation(channels: int, momentum: float = 0.4) -> nn.BatchNorm2d:
    """Return a batch normalisation without a scale of its own: what it does commutes with max pooling."""
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, deep: int = 1) -> None:
        super().__init__()
        self.first, self.norm = _convolution(channels_in, channels), positive_normalisation(channels)
        self.more = nn.ModuleList(
            nn.Sequential(_convolution(channels, channels), positive_normalisation(channels)) for _ in range(deep)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(F.max_pool2d(self.first(x), 2)))
        for index, layer in enumerate(self.more):
            x = F.gelu(layer(x)) if index == 0 else x + F.gelu(layer(x))
        return x


def _convolution(channels_in: int, channels: int) -> nn.Conv2d:
    """Return a convolution that begins by handing its first channels on."""
    layer = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(layer.weight[: min(channels_in, channels)])
    return layer
