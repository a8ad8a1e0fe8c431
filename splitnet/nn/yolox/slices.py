"""Slices of a YOLOX's first stages: the same layers with the leading channels only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.yolox.architecture import YOLOXArchitecture
from splitnet.nn.yolox.network import FAMILY, STAGES, features_at, make_stage

MERGING = "conv3.conv.weight"  # of a CSP layer: it reads two branches, one behind the other


def sliced_stages(name: str, split_point: str, share: int) -> nn.Sequential:
    """Return the fused stages of a detector up to a split point with a share, in percent, of their channels.

    Weights are random. ConfigError if the detector is no YOLOX, or the share of some channels is no whole number.
    """
    if name not in FAMILY:
        raise ConfigError(f"only the stages of a YOLOX can be sliced, not those of {name}: choose {', '.join(FAMILY)}")
    features_at(split_point)
    channels = FAMILY[name].channels(STAGES[0])
    if channels * share % 100:
        raise ConfigError(f"{share} percent of the {channels} channels of {name}'s stem are no whole number")
    spec = replace(FAMILY[name], width=channels * share // 100 / 64)
    stages = STAGES[: STAGES.index(split_point) + 1]
    simplified = YOLOXArchitecture().simplified
    return nn.Sequential(OrderedDict((stage, simplified(make_stage(spec, stage, fused=True))) for stage in stages))


def leading_weights(whole: Mapping[str, Tensor], sizes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Return the part of the whole stages' weights, by name, that slices of given sizes have; they are views."""
    return {name: _leading(name, whole[name], size) for name, size in sizes.items()}


def _leading(name: str, whole: Tensor, size: torch.Size) -> Tensor:
    rows = whole[: size[0]]
    if len(size) == 1:
        return rows
    if not name.endswith(MERGING):
        return rows[:, : size[1]]
    branch, kept = whole.shape[1] // 2, size[1] // 2
    return torch.cat((rows[:, :kept], rows[:, branch : branch + kept]), dim=1)
