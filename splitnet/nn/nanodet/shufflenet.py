"""ShuffleNetV2, the backbone of NanoDet-Plus (Ma et al., arXiv 1807.11164)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from splitnet.nn.blocks import normalisation
from splitnet.nn.detector import IMAGE
from splitnet.nn.nanodet.layers import Chain, activation, depthwise, pointwise
from splitnet.nn.normalise import Normalise

# "stage2a" is the second stage without its last block: a split there leaves that block to the server.
STAGES = ("stage1", "stage2a", "stage2", "stage3", "stage4")
STAGE_STRIDES: Mapping[str, int] = {"stage1": 4, "stage2a": 8, "stage2": 8, "stage3": 16, "stage4": 32}
STEM_CHANNELS = 24
# Where the blocks of a stage are in a checkpoint: a group's name, and their numbers.
BLOCKS: Mapping[str, tuple[str, range]] = {
    "stage2a": ("stage2", range(3)),
    "stage2": ("stage2", range(3, 4)),
    "stage3": ("stage3", range(8)),
    "stage4": ("stage4", range(4)),
}
# Of the training set's images, in the order blue, green, red.
PIXEL_MEAN = (103.53, 116.28, 123.675)
PIXEL_DEVIATION = (57.375, 57.12, 58.395)


class ShuffleBlock(nn.Module):
    """Half of the channels pass, the other half are convolved; with a stride both halves are. Then they interleave."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, fused: bool) -> None:
        super().__init__()
        half = channels_out // 2
        self.passed = half  # channels that a block without a stride leaves as they are
        self.branch1 = _reduced(channels_in, half, fused) if stride == 2 else nn.Sequential()
        inner = channels_in if stride == 2 else half
        self.branch2 = Chain(
            pointwise(inner, half, fused),
            normalisation(half, fused),
            activation(),
            depthwise(half, 3, stride, fused),
            normalisation(half, fused),
            pointwise(half, half, fused),
            normalisation(half, fused),
            activation(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, ceil(H/stride), ceil(W/stride))."""
        if len(self.branch1):
            return interleaved(self.branch1(x), self.branch2(x))
        return interleaved(x[..., : self.passed, :, :], self.branch2(x[..., self.passed :, :, :]))


def _reduced(channels_in: int, channels_out: int, fused: bool) -> Chain:
    return Chain(
        depthwise(channels_in, 3, 2, fused),
        normalisation(channels_in, fused),
        pointwise(channels_in, channels_out, fused),
        normalisation(channels_out, fused),
        activation(),
    )


def interleaved(a: Tensor, b: Tensor) -> Tensor:
    """Return the channels of two tensors (N, C, H, W) in turns, (N, 2C, H, W): a shuffle of two groups."""
    return torch.flatten(torch.stack((a, b), dim=2), 1, 2)


@dataclass(frozen=True)
class ShuffleNetSpec:
    """Channels of each group of blocks; the stem has STEM_CHANNELS."""

    widths: Mapping[str, int]

    def channels(self, stage: str) -> int:
        """Return the number of channels after a stage."""
        return STEM_CHANNELS if stage == "stage1" else self.widths[BLOCKS[stage][0]]


class ShuffleNet(nn.Module):
    """The stages of a backbone, all of them or some neighbours. "stage1" is the stem with its pooling."""

    def __init__(self, spec: ShuffleNetSpec, stages: tuple[str, ...] = STAGES, fused: bool = True) -> None:
        super().__init__()
        self.stages = stages
        if "stage1" in stages:
            self.normalise = Normalise(PIXEL_MEAN, PIXEL_DEVIATION)
            self.conv1 = _stem(fused)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        # By name, not by place: a backbone without its first blocks names the others as the whole one does.
        for group in dict.fromkeys(BLOCKS[stage][0] for stage in stages if stage in BLOCKS):
            here = [
                (stage, i)
                for stage in stages
                if stage in BLOCKS and BLOCKS[stage][0] == group
                for i in BLOCKS[stage][1]
            ]
            self.add_module(group, nn.ModuleDict({str(i): _block(spec, stage, i, fused) for stage, i in here}))

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the stages that are here.

        features: output by stage name, or {"image": (N, 3, H, W)} BGR 0..255 for a backbone from the start. Returns
        them together with every output computed.
        """
        computed = dict(features)
        x = computed[before(self.stages[0])]
        for stage in self.stages:
            x = computed[stage] = self.run(stage, x)
        return computed

    def run(self, stage: str, x: Tensor) -> Tensor:
        """Map what comes before a stage (N, C, H, W), the image before the first, to what comes after it."""
        if stage == "stage1":
            return cast(Tensor, self.maxpool(self.conv1(self.normalise(x))))
        for block in self._blocks(stage):
            x = block(x)
        return x

    def _blocks(self, stage: str) -> list[nn.Module]:
        group, numbers = BLOCKS[stage]
        return [self.get_submodule(f"{group}.{i}") for i in numbers]

    def keep_from(self, split_point: str) -> None:
        """Drop the stages up to a split point."""
        kept = STAGES[STAGES.index(split_point) + 1 :]
        for stage in set(self.stages) - set(kept):
            if stage == "stage1":
                del self.normalise, self.conv1, self.maxpool
            else:
                group, numbers = BLOCKS[stage]
                for i in numbers:
                    delattr(self.get_submodule(group), str(i))
        self.stages = kept


def before(stage: str) -> str:
    """Return the name of what a stage reads."""
    index = STAGES.index(stage)
    return STAGES[index - 1] if index else IMAGE


def _stem(fused: bool) -> Chain:
    conv = nn.Conv2d(3, STEM_CHANNELS, 3, 2, 1, bias=fused)
    return Chain(conv, normalisation(STEM_CHANNELS, fused), activation())


def _block(spec: ShuffleNetSpec, stage: str, number: int, fused: bool) -> ShuffleBlock:
    channels = spec.channels(stage)
    if number:
        return ShuffleBlock(channels, channels, 1, fused)
    return ShuffleBlock(spec.channels(before(stage)), channels, 2, fused)
