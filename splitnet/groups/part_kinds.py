"""The networks of parts: what a device of a group runs. Each kind is a frozen dataclass that makes a module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import BundleError
from splitnet.json_values import integer
from splitnet.letterbox import PADDING_VALUE
from splitnet.nn.normalise import Normalise

MAX_CHANNELS = 1024
CIFAR_MEAN, CIFAR_DEVIATION = (113.9, 123.0, 125.3), (66.7, 62.1, 63.0)  # of CIFAR-10's pixels: blue, green, red
DEVIATION = 64.0  # of pixels, that a thin front's are divided by


class PartSpec(ABC):
    """Shape of a part's network."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels that it puts out."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels of the canvas per position of what it puts out."""

    @abstractmethod
    def make(self) -> nn.Module:
        """Return the network, its weights not set.

        It maps BGR images (N, 3, H, W) float32 0..255 to the part (N, C, H/stride, W/stride).
        """

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, by which `part_from_json` finds it again."""
        return {"kind": self.kind, **asdict(cast(Any, self))}


@dataclass(frozen=True)
class ThinFrontSpec(PartSpec):
    """A thin network from a detector's square to some channels of its latent.

    The mean of 2x2 pixels, a strided stem, two strided depthwise-separable layers and a residual depthwise one.
    """

    kind: ClassVar[str] = "thin_front"
    stride: ClassVar[int] = 16

    channels: int  # of the part
    stem: int = 16  # at stride 4
    middle: int = 40  # at stride 8
    wide: int = 96  # at stride 16
    kernel: int = 5  # of the depthwise layers

    @property
    def latent_channels(self) -> int:
        """Channels that it puts out."""
        return self.channels

    def make(self) -> nn.Module:
        """Return the network (`PartSpec`)."""
        return ThinFront(self)


class ThinFront(nn.Module):
    """The network of a `ThinFrontSpec`, normalisation folded in."""

    def __init__(self, spec: ThinFrontSpec) -> None:
        super().__init__()
        kernel, half = spec.kernel, spec.kernel // 2
        self.normalise = Normalise((PADDING_VALUE,) * 3, (DEVIATION,) * 3)
        self.stem = nn.Conv2d(3, spec.stem, 3, stride=2, padding=1)
        self.down8 = nn.Conv2d(spec.stem, spec.stem, kernel, 2, half, groups=spec.stem)
        self.mix8 = nn.Conv2d(spec.stem, spec.middle, 1)
        self.down16 = nn.Conv2d(spec.middle, spec.middle, kernel, 2, half, groups=spec.middle)
        self.mix16 = nn.Conv2d(spec.middle, spec.wide, 1)
        self.blur = nn.Conv2d(spec.wide, spec.wide, kernel, 1, half, groups=spec.wide)
        self.out = nn.Conv2d(spec.wide, spec.channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the part (N, C, H/16, W/16)."""
        x = F.avg_pool2d(self.normalise(image), 2)
        x = F.relu(self.mix8(self.down8(F.relu(self.stem(x)))))
        x = F.relu(self.mix16(self.down16(x)))
        return cast(Tensor, self.out(F.relu(x + self.blur(x))))


@dataclass(frozen=True)
class PooledConvSpec(PartSpec):
    """A small classifier's convolutions, from 32x32 pixels to one value a channel: the largest in the image.

    Three convolutions of 3x3, each followed by max pooling, and one of 1x1.
    """

    kind: ClassVar[str] = "pooled_conv"
    stride: ClassVar[int] = 32

    channels: int  # of the part
    stem: int = 24
    middle: int = 48
    wide: int = 96

    @property
    def latent_channels(self) -> int:
        """Channels that it puts out."""
        return self.channels

    def make(self) -> nn.Module:
        """Return the network (`PartSpec`)."""
        return PooledConv(self)


class PooledConv(nn.Module):
    """The network of a `PooledConvSpec`, normalisation folded in."""

    def __init__(self, spec: PooledConvSpec) -> None:
        super().__init__()
        self.normalise = Normalise(CIFAR_MEAN, CIFAR_DEVIATION)
        self.stem = nn.Conv2d(3, spec.stem, 3, padding=1)
        self.middle = nn.Conv2d(spec.stem, spec.middle, 3, padding=1)
        self.wide = nn.Conv2d(spec.middle, spec.wide, 3, padding=1)
        self.out = nn.Conv2d(spec.wide, spec.channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the part (N, C, H/32, W/32)."""
        x = self.normalise(image)
        for layer in (self.stem, self.middle, self.wide):
            x = F.relu(F.max_pool2d(layer(x), 2))
        return F.max_pool2d(cast(Tensor, self.out(x)), 4)


KINDS: Mapping[str, type[PartSpec]] = {one.kind: one for one in (ThinFrontSpec, PooledConvSpec)}


def part_from_json(values: Mapping[str, Any]) -> PartSpec:
    """Return the spec that a manifest states. BundleError on an unknown kind, or on sizes that no network has."""
    kind = KINDS.get(str(values.get("kind")))
    if kind is None:
        raise BundleError(f"unknown kind of part {values.get('kind')!r}: update this software")
    sizes = {one.name: integer(values[one.name]) for one in fields(cast(Any, kind))}
    if not all(1 <= size <= MAX_CHANNELS for size in sizes.values()):
        raise BundleError(f"a part has sizes of 1 to {MAX_CHANNELS}, not {sizes}")
    return kind(**sizes)
