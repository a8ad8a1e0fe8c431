"""The YOLOX family, nano to x, in plain torch (Ge et al., arXiv 2107.08430).

One code path for every size. A detector may be built without its first stages: then it is the part that
runs on the server, and takes the features at the split point instead of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.blocks import fuse_all
from splitnet.nn.detector import Detector, features_needed
from splitnet.nn.yolox.blocks import ConvBlock, CSPLayer, Focus, SPPBottleneck, spatial_conv

STAGES = ("stem", "dark2", "dark3", "dark4", "dark5")
STAGE_STRIDES = {"stem": 2, "dark2": 4, "dark3": 8, "dark4": 16, "dark5": 32}
SPLIT_POINTS = ("stem", "dark2", "dark3", "dark4")
NECK_INPUTS = ("dark3", "dark4", "dark5")
HEAD_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class YOLOXSpec:
    """Size of one family member."""

    depth: float  # multiplies the number of bottlenecks
    width: float  # multiplies the channels
    depthwise: bool  # 3x3 convolutions are depthwise separable
    input_size: int  # pixels a side, as published

    def channels(self, stage: str) -> int:
        """Return the number of channels after a stage."""
        return int(self.width * 64) * STAGE_STRIDES[stage] // 2


FAMILY: Mapping[str, YOLOXSpec] = {
    "yolox-nano": YOLOXSpec(0.33, 0.25, True, 416),
    "yolox-tiny": YOLOXSpec(0.33, 0.375, False, 416),
    "yolox-s": YOLOXSpec(0.33, 0.50, False, 640),
    "yolox-m": YOLOXSpec(0.67, 0.75, False, 640),
    "yolox-l": YOLOXSpec(1.0, 1.0, False, 640),
    "yolox-x": YOLOXSpec(1.33, 1.25, False, 640),
}


def features_at(split_point: str) -> tuple[str, ...]:
    """Return which stages' outputs must be known to go on after a split point.

    The neck reads dark3 and dark4, so a split after dark4 needs both. ConfigError on an unknown one.
    """
    return features_needed(split_point, SPLIT_POINTS, STAGES, NECK_INPUTS)


class CSPDarknet(nn.Module):
    """The backbone, or what is left of it after the split point."""

    def __init__(self, spec: YOLOXSpec, split_point: str | None, fused: bool) -> None:
        super().__init__()
        self.stages = STAGES if split_point is None else STAGES[STAGES.index(split_point) + 1 :]
        for stage in self.stages:
            self.add_module(stage, make_stage(spec, stage, fused))

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the stages that are here.

        features: output by stage name, or {"image": (N, 3, H, W)} for a whole backbone. Returns them
        together with every output computed.
        """
        computed = dict(features)
        x = computed["image" if self.stages[0] == "stem" else STAGES[STAGES.index(self.stages[0]) - 1]]
        for stage in self.stages:
            x = computed[stage] = getattr(self, stage)(x)
        return computed


def stages_to(name: str, split_point: str) -> nn.ModuleDict:
    """Return the fused stages of a detector up to a split point, by name; ConfigError if there is no such detector."""
    features_at(split_point)
    if name not in FAMILY:
        raise ConfigError(f"unknown detector {name!r}; choose one of {', '.join(FAMILY)}")
    stages = STAGES[: STAGES.index(split_point) + 1]
    return nn.ModuleDict({stage: make_stage(FAMILY[name], stage, fused=True) for stage in stages})


def make_stage(spec: YOLOXSpec, stage: str, fused: bool) -> nn.Module:
    """Return one stage of the backbone, its weights random."""
    channels, depth = spec.channels(stage), max(round(spec.depth * 3), 1)
    if stage == "stem":
        return Focus(channels, fused)
    down = spatial_conv(channels // 2, channels, 2, spec.depthwise, fused)
    if stage == "dark5":
        layer = CSPLayer(channels, channels, depth, False, spec.depthwise, fused)
        return nn.Sequential(down, SPPBottleneck(channels, fused), layer)
    repeats = depth if stage == "dark2" else depth * 3
    return nn.Sequential(down, CSPLayer(channels, channels, repeats, True, spec.depthwise, fused))


class PAFPN(nn.Module):
    """Backbone and path-aggregation neck (Liu et al., arXiv 1803.01534)."""

    def __init__(self, spec: YOLOXSpec, split_point: str | None, fused: bool) -> None:
        super().__init__()
        c3, c4, c5 = (spec.channels(stage) for stage in NECK_INPUTS)
        depth = round(3 * spec.depth)

        def csp(channels_in: int, channels_out: int) -> CSPLayer:
            return CSPLayer(channels_in, channels_out, depth, False, spec.depthwise, fused)

        self.backbone = CSPDarknet(spec, split_point, fused)
        self.lateral_conv0 = ConvBlock(c5, c4, 1, fused=fused)
        self.C3_p4 = csp(2 * c4, c4)
        self.reduce_conv1 = ConvBlock(c4, c3, 1, fused=fused)
        self.C3_p3 = csp(2 * c3, c3)
        self.bu_conv2 = spatial_conv(c3, c3, 2, spec.depthwise, fused)
        self.C3_n3 = csp(2 * c3, c4)
        self.bu_conv1 = spatial_conv(c4, c4, 2, spec.depthwise, fused)
        self.C3_n4 = csp(2 * c4, c5)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the backbone's features and the pyramid "p3", "p4", "p5" at strides 8, 16, 32."""
        computed = self.backbone(features)
        dark3, dark4, dark5 = (computed[stage] for stage in NECK_INPUTS)
        top = self.lateral_conv0(dark5)
        middle = self.reduce_conv1(self.C3_p4(torch.cat((_upsample(top), dark4), dim=1)))
        p3 = self.C3_p3(torch.cat((_upsample(middle), dark3), dim=1))
        p4 = self.C3_n3(torch.cat((self.bu_conv2(p3), middle), dim=1))
        p5 = self.C3_n4(torch.cat((self.bu_conv1(p4), top), dim=1))
        return {**computed, "p3": p3, "p4": p4, "p5": p5}


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Head(nn.Module):
    """Decoupled, anchor-free head on three levels."""

    def __init__(self, spec: YOLOXSpec, classes: int, fused: bool) -> None:
        super().__init__()
        hidden = int(256 * spec.width)

        def tower() -> nn.Sequential:
            return nn.Sequential(*(spatial_conv(hidden, hidden, 1, spec.depthwise, fused) for _ in range(2)))

        self.stems = nn.ModuleList(ConvBlock(spec.channels(s), hidden, 1, fused=fused) for s in NECK_INPUTS)
        self.cls_convs = nn.ModuleList(tower() for _ in HEAD_STRIDES)
        self.reg_convs = nn.ModuleList(tower() for _ in HEAD_STRIDES)
        self.cls_preds = nn.ModuleList(nn.Conv2d(hidden, classes, 1) for _ in HEAD_STRIDES)
        self.reg_preds = nn.ModuleList(nn.Conv2d(hidden, 4, 1) for _ in HEAD_STRIDES)
        self.obj_preds = nn.ModuleList(nn.Conv2d(hidden, 1, 1) for _ in HEAD_STRIDES)

    def forward(self, pyramid: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return raw predictions (N, A, 5 + classes): dx, dy, log w, log h, then logits (object, classes)."""
        return torch.cat([self._level(i, x).flatten(2) for i, x in enumerate(pyramid)], dim=2).transpose(1, 2)

    def _level(self, i: int, x: Tensor) -> Tensor:
        x = self.stems[i](x)
        classes = self.cls_preds[i](self.cls_convs[i](x))
        boxes = self.reg_convs[i](x)
        return torch.cat((self.reg_preds[i](boxes), self.obj_preds[i](boxes), classes), dim=1)


class YOLOX(Detector):
    """A detector, whole or from a split point on.

    name: a key of FAMILY. split_point: None for the whole detector. fused: build with folded batch
    normalisation (see `blocks`); a public checkpoint wants fused=False, and `fuse()` afterwards.
    """

    def __init__(self, name: str, classes: int, split_point: str | None = None, fused: bool = True) -> None:
        super().__init__()
        if name not in FAMILY:
            raise ConfigError(f"unknown detector {name!r}; choose one of {', '.join(FAMILY)}")
        self.name, self.spec = name, FAMILY[name]
        if split_point is not None:
            features_at(split_point)
        self.backbone = PAFPN(self.spec, split_point, fused)
        self.head = Head(self.spec, classes, fused)

    def trace(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return everything on the way by name: stages, "p3", "p4", "p5" and "raw" (`Detector.trace`)."""
        computed = self.backbone(features)
        raw = self.head((computed["p3"], computed["p4"], computed["p5"]))
        return {**computed, "raw": cast(Tensor, raw)}

    def next_stage(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features, and those up to the next stage that the neck reads; dark5 is not run."""
        backbone, computed = self.backbone.backbone, dict(features)
        for stage in backbone.stages[:-1]:
            computed[stage] = getattr(backbone, stage)(computed[STAGES[STAGES.index(stage) - 1]])
            if stage in NECK_INPUTS:
                break
        return computed

    def fuse(self) -> YOLOX:
        """Fold every batch normalisation, in place; returns itself."""
        return fuse_all(self)

    def keep_from(self, split_point: str) -> None:
        """Drop the stages up to the split point: what remains is the server's part."""
        features_at(split_point)
        backbone = self.backbone.backbone
        kept = STAGES[STAGES.index(split_point) + 1 :]
        for stage in set(backbone.stages) - set(kept):
            delattr(backbone, stage)
        backbone.stages = kept
