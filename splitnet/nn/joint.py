"""A joint: one linear map from the features of one detector to those of another.

Where two detectors share a front, a joint makes of the donor's features what the recipient's next stage reads. It is
one convolution over one or several of the donor's tensors, and of the recipient's own first stages if it keeps them.
Finer tensors are unshuffled to the target's stride, so that nothing of them is lost; coarser ones are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError

COPY = 0  # the kernel of a joint that passes one tensor on as it is: for detectors of a common ancestor
KERNELS = (COPY, 1, 3, 5)
MAX_CHANNELS = 4096  # of what a joint reads: a bound for files from outside
MAX_UNSHUFFLE = 4  # strides of a source may be so much finer than the target's


@dataclass(frozen=True)
class Source:
    """A tensor that a joint reads."""

    name: str
    channels: int
    stride: int  # pixels of the image per position
    is_own: bool = False  # the recipient's; else the donor's

    @property
    def key(self) -> str:
        """What it is called among the tensors of both: the same name may be in either."""
        return own_key(self.name) if self.is_own else self.name


@dataclass(frozen=True)
class JointSpec:
    """Shape of a joint."""

    sources: tuple[Source, ...]
    target: str  # the recipient's tensor
    channels: int  # of the target
    stride: int  # of the target
    kernel: int

    def __post_init__(self) -> None:
        """Raise ConfigError on what no joint is."""
        if self.kernel not in KERNELS:
            raise ConfigError(f"a joint's kernel is one of {', '.join(map(str, KERNELS))}, not {self.kernel}")
        if not self.sources:
            raise ConfigError(f"the joint to {self.target} reads nothing")
        for source in self.sources:
            check_reach(source, self.stride, self.target)
        one = self.sources[0]
        if self.kernel == COPY and (len(self.sources), one.channels, one.stride) != (1, self.channels, self.stride):
            raise ConfigError(f"only one tensor of the same shape can be copied to {self.target}")
        if not (1 <= self.columns <= MAX_CHANNELS and 1 <= self.channels <= MAX_CHANNELS):
            raise ConfigError(f"the joint to {self.target} has {self.columns} channels, at most {MAX_CHANNELS} are")

    @property
    def columns(self) -> int:
        """Channels of what the convolution reads."""
        return sum(resampled_channels(source, self.stride) for source in self.sources)

    @property
    def parameters(self) -> int:
        """Number of weights, the bias among them."""
        return 0 if self.kernel == COPY else self.channels * (self.columns * self.kernel**2 + 1)


class Joint(nn.Module):
    """The map itself."""

    def __init__(self, spec: JointSpec) -> None:
        super().__init__()
        self.spec = spec
        conv = nn.Conv2d(spec.columns, spec.channels, spec.kernel or 1, padding=spec.kernel // 2)
        self.conv = nn.Identity() if spec.kernel == COPY else conv

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Map features by their keys to the recipient's (N, C, H, W)."""
        return cast(Tensor, self.conv(gathered(self.spec, features)))


def own_key(name: str) -> str:
    """Return what a tensor of the recipient is called among the tensors of both."""
    return f"own {name}"


def gathered(spec: JointSpec, features: Mapping[str, Tensor]) -> Tensor:
    """Return what a joint's convolution reads (N, columns, H, W), of features by their keys."""
    found = [resampled(features[one.key], one.stride, spec.stride) for one in spec.sources]
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def resampled(x: Tensor, stride: int, wanted: int) -> Tensor:
    """Return features (N, C, h, w) of one stride at another: finer ones unshuffled, coarser ones interpolated."""
    if stride < wanted:
        return F.pixel_unshuffle(x, wanted // stride)
    if stride > wanted:
        return F.interpolate(x, scale_factor=float(stride // wanted), mode="bilinear", align_corners=False)
    return x


def resampled_channels(source: Source, wanted: int) -> int:
    """Return how many channels a source has at a stride."""
    return source.channels * max(1, wanted // source.stride) ** 2


def check_reach(source: Source, stride: int, target: str) -> None:
    """Raise ConfigError if a source is too fine for a target, or one stride is no multiple of the other."""
    coarse, fine = max(source.stride, stride), min(source.stride, stride)
    if fine < 1 or coarse % fine or stride > MAX_UNSHUFFLE * source.stride:
        raise ConfigError(f"{source.name} at stride {source.stride} cannot stand for {target} at stride {stride}")
