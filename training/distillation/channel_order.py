"""The channels of a YOLOX's first stages in order of importance: the network stays the same, its slices are better.

A channel's importance is the product of the squared norms of the weights that make it and of those that read it. (Li et
al., arXiv 1608.08710, take the former alone.) Channels that are added up or filtered one by one are ordered together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from splitnet.nn.yolox.blocks import CSPLayer, DepthwiseConvBlock

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are ordered as one: convolutions by name."""

    rows: tuple[str, ...]  # that put them out; depthwise ones among them
    columns: tuple[tuple[str, int], ...]  # that read them, and from which of their inputs on


@torch.no_grad()
def order_channels(stages: nn.Sequential) -> Tensor:
    """Order the channels of fused, simplified stages of a YOLOX in place; the last stage's order is returned.

    The result (C,) int64 says which of the former channels each one of the output was.
    """
    weights = dict(stages.state_dict())
    *inner, last = channel_groups(stages)
    for group in inner:
        _permute(weights, group, _importance(weights, group).argsort(descending=True, stable=True))
    order = _importance(weights, last).argsort(descending=True, stable=True)
    _permute(weights, last, order)
    stages.load_state_dict(weights)
    return order


def channel_groups(stages: nn.Sequential) -> list[ChannelGroup]:
    """Return the groups of a YOLOX's stages, that of the output last."""
    names = [name for name, _ in stages.named_children()]
    groups: list[ChannelGroup] = []
    output = (f"{names[0]}.conv",)  # of the stem, whose focus is a convolution
    for name in names[1:]:
        down, layer = stages.get_submodule(f"{name}.0"), stages.get_submodule(f"{name}.1")
        assert isinstance(layer, CSPLayer)
        filters, reader = _spatial(f"{name}.0", down)
        groups.append(ChannelGroup((*output, *filters), ((reader, 0),)))
        csp = f"{name}.1"
        groups.append(ChannelGroup((reader,), ((f"{csp}.conv1.conv", 0), (f"{csp}.conv2.conv", 0))))
        groups.extend(_branches(csp, layer))
        output = (f"{csp}.conv3.conv",)
    return [*groups, ChannelGroup(output, ())]


def _branches(name: str, layer: CSPLayer) -> Iterator[ChannelGroup]:
    """Yield the groups within a cross-stage layer: its deep branch, each bottleneck's middle, its direct branch."""
    merging, hidden = f"{name}.conv3.conv", layer.conv1.conv.out_channels
    deep, readers = [f"{name}.conv1.conv"], [(merging, 0)]
    for i, block in enumerate(layer.m):
        inner = f"{name}.m.{i}"
        filters, last = _spatial(f"{inner}.conv2", block.get_submodule("conv2"))
        yield ChannelGroup((f"{inner}.conv1.conv", *filters), ((last, 0),))
        deep.append(last)
        readers.append((f"{inner}.conv1.conv", 0))
    yield ChannelGroup(tuple(deep), tuple(readers))
    yield ChannelGroup((f"{name}.conv2.conv",), ((merging, hidden),))


def _spatial(name: str, block: nn.Module) -> tuple[tuple[str, ...], str]:
    """Return the depthwise convolution of a spatial one, if it has one, and the one that mixes channels."""
    if isinstance(block, DepthwiseConvBlock):
        return (f"{name}.dconv.conv",), f"{name}.pconv.conv"
    return (), f"{name}.conv"


def _importance(weights: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    count = len(weights[f"{group.rows[0]}.bias"])
    made = sum((weights[f"{name}.weight"].square().sum(dim=(1, 2, 3)) for name in group.rows), torch.zeros(count))
    read = [weights[f"{name}.weight"][:, at : at + count].square().sum(dim=(0, 2, 3)) for name, at in group.columns]
    return made * sum(read, torch.zeros(count)) if read else made


def _permute(weights: Weights, group: ChannelGroup, order: Tensor) -> None:
    for name in group.rows:
        for part in (f"{name}.weight", f"{name}.bias"):
            weights[part] = weights[part][order]
    for name, at in group.columns:
        part, count = f"{name}.weight", len(order)
        whole = weights[part]
        weights[part] = torch.cat((whole[:, :at], whole[:, at : at + count][:, order], whole[:, at + count :]), dim=1)
