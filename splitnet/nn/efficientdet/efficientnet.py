"""EfficientNet-B0 to B2 as a detector's backbone, padded as TensorFlow pads (Tan and Le, arXiv 1905.11946).

Parameters have the names of timm's `tf_efficientnet_b0` to `b2`, so that public checkpoints load unchanged. As in
`blocks`, every convolution has its batch normalisation (`fused=False`) or has it folded in (`fused=True`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from splitnet.nn.blocks import Foldable
from splitnet.nn.efficientdet.same_padding import normalisation, same_conv

# Of ImageNet's pictures, RGB in 0..255: what the public checkpoints were trained with.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_DEVIATION = (58.395, 57.12, 57.375)

# The stages by the usual names of their outputs, and which of the seven groups of blocks lie in each.
STAGES = ("c1", "c2", "c3", "c4", "c5")
STAGE_STRIDES = {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32}
_GROUPS: Mapping[str, tuple[int, ...]] = {"c1": (0,), "c2": (1,), "c3": (2,), "c4": (3, 4), "c5": (5, 6)}


@dataclass(frozen=True)
class _Group:
    """Blocks of one kind, as in B0."""

    repeats: int
    channels: int
    expansion: int
    kernel: int
    stride: int  # of the first block


_B0 = (
    _Group(1, 16, 1, 3, 1),
    _Group(2, 24, 6, 3, 2),
    _Group(2, 40, 6, 5, 2),
    _Group(3, 80, 6, 3, 2),
    _Group(3, 112, 6, 5, 1),
    _Group(4, 192, 6, 5, 2),
    _Group(1, 320, 6, 3, 1),
)
_STEM_CHANNELS = 32


@dataclass(frozen=True)
class EfficientNetSpec:
    """Size of one family member."""

    width: float  # multiplies the channels
    depth: float  # multiplies the blocks of a group

    def channels(self, stage: str) -> int:
        """Return the number of channels after a stage."""
        return self.group_channels(_GROUPS[stage][-1])

    def group_channels(self, group: int) -> int:
        """Return the number of channels after a group of blocks."""
        return rounded(_B0[group].channels * self.width)

    def repeats(self, group: int) -> int:
        """Return the number of blocks of a group."""
        return math.ceil(_B0[group].repeats * self.depth)

    @property
    def stem_channels(self) -> int:
        """Channels of the first convolution."""
        return rounded(_STEM_CHANNELS * self.width)


def rounded(channels: float) -> int:
    """Return the nearest multiple of 8, the next one if that would take away more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class SqueezeExcite(nn.Module):
    """Weigh channels by what their means over the picture say (Hu et al., arXiv 1709.01507)."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.act = nn.SiLU(inplace=True)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        weights: Tensor = self.conv_expand(self.act(self.conv_reduce(mean)))
        return x * weights.sigmoid()


class DepthwiseSeparable(Foldable):
    """Depthwise convolution, squeeze and excitation, and a pointwise convolution without activation."""

    pairs = (("conv_dw", "bn1"), ("conv_pw", "bn2"))

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, fused: bool) -> None:
        super().__init__()
        self.conv_dw = same_conv(channels_in, channels_in, kernel, stride, groups=channels_in, bias=fused)
        self.bn1 = normalisation(channels_in, fused)
        self.act = nn.SiLU(inplace=True)
        self.se = SqueezeExcite(channels_in, channels_in // 4)
        self.conv_pw = same_conv(channels_in, channels_out, 1, bias=fused)
        self.bn2 = normalisation(channels_out, fused)
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H/stride, W/stride)."""
        y = self.se(self.act(self.bn1(self.conv_dw(x))))
        y = self.bn2(self.conv_pw(y))
        return cast(Tensor, y + x if self.shortcut else y)


class InvertedResidual(Foldable):
    """Pointwise expansion, depthwise convolution, squeeze and excitation, linear projection (arXiv 1801.04381)."""

    pairs = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))

    def __init__(
        self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int, fused: bool
    ) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.conv_pw = same_conv(channels_in, hidden, 1, bias=fused)
        self.bn1 = normalisation(hidden, fused)
        self.act = nn.SiLU(inplace=True)
        self.conv_dw = same_conv(hidden, hidden, kernel, stride, groups=hidden, bias=fused)
        self.bn2 = normalisation(hidden, fused)
        self.se = SqueezeExcite(hidden, channels_in // 4)
        self.conv_pwl = same_conv(hidden, channels_out, 1, bias=fused)
        self.bn3 = normalisation(channels_out, fused)
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H/stride, W/stride)."""
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.se(self.act(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return cast(Tensor, y + x if self.shortcut else y)


class EfficientNet(Foldable):
    """The stages of a backbone, all of them or some neighbours."""

    pairs = (("conv_stem", "bn1"),)

    def __init__(self, spec: EfficientNetSpec, stages: tuple[str, ...] = STAGES, fused: bool = True) -> None:
        super().__init__()
        self.stages = stages
        if "c1" in stages:
            self.conv_stem = same_conv(3, spec.stem_channels, 3, 2, bias=fused)
            self.bn1 = normalisation(spec.stem_channels, fused)
            self.act = nn.SiLU(inplace=True)
        groups = [group for stage in stages for group in _GROUPS[stage]]
        # By name, not by place: a backbone without its first stages names the others as the whole one does.
        self.blocks = nn.ModuleDict({str(group): _blocks(spec, group, fused) for group in groups})

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the stages that are here.

        features: output by stage name, or {"image": (N, 3, H, W)} BGR 0..255 for a backbone from the start. Returns
        them together with every output computed.
        """
        computed = dict(features)
        x = computed["image" if "c1" in self.stages else STAGES[STAGES.index(self.stages[0]) - 1]]
        for stage in self.stages:
            x = computed[stage] = self.run(stage, x)
        return computed

    def run(self, stage: str, x: Tensor) -> Tensor:
        """Map what comes before a stage (N, C, H, W), the picture before the first, to what comes after it."""
        if stage == "c1":
            x = self.act(self.bn1(self.conv_stem(normalised(x))))
        for group in _GROUPS[stage]:
            x = self.blocks[str(group)](x)
        return x

    def keep_from(self, split_point: str) -> None:
        """Drop the stages up to a split point."""
        kept = STAGES[STAGES.index(split_point) + 1 :]
        for stage in set(self.stages) - set(kept):
            for group in _GROUPS[stage]:
                del self.blocks[str(group)]
            if stage == "c1":
                del self.conv_stem, self.bn1
        self.stages = kept


def _blocks(spec: EfficientNetSpec, group: int, fused: bool) -> nn.Sequential:
    kind, channels = _B0[group], spec.group_channels(group)
    before = spec.stem_channels if group == 0 else spec.group_channels(group - 1)
    blocks: list[nn.Module] = []
    for i in range(spec.repeats(group)):
        channels_in, stride = (before, kind.stride) if i == 0 else (channels, 1)
        if kind.expansion == 1:
            blocks.append(DepthwiseSeparable(channels_in, channels, kind.kernel, stride, fused))
        else:
            blocks.append(InvertedResidual(channels_in, channels, kind.expansion, kind.kernel, stride, fused))
    return nn.Sequential(*blocks)


def normalised(image: Tensor) -> Tensor:
    """Map BGR pictures (N, 3, H, W) 0..255 to RGB of ImageNet's mean and deviation."""
    # Numbers, not tensors: nothing that a state would have to hold, or a recorded CUDA graph to copy.
    channels = zip((2, 1, 0), PIXEL_MEAN, PIXEL_DEVIATION, strict=True)
    return torch.stack([(image[:, i] - mean) / deviation for i, mean, deviation in channels], dim=1)
