"""The EfficientDet family, D0 to D2, in plain torch (Tan, Pang and Le, arXiv 1911.09070).

Unfused, parameters have the names and shapes of `tf_efficientdet_d0` to `d2` of the PyTorch port
github.com/rwightman/efficientdet-pytorch (effdet 0.4.1), so that its checkpoints load unchanged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.blocks import fold_batch_norm, fuse_all
from splitnet.nn.detector import RAW, Detector, features_needed
from splitnet.nn.efficientdet.bifpn import LEVELS, BiFPN, SeparableConv
from splitnet.nn.efficientdet.efficientnet import STAGES, EfficientNet, EfficientNetSpec
from splitnet.nn.efficientdet.same_padding import normalisation

SPLIT_POINTS = ("c2", "c3", "c4")
NECK_INPUTS = ("c3", "c4", "c5")
PYRAMID = tuple(f"p{level}" for level in LEVELS)
ANCHORS_PER_CELL = 9  # three sizes of three shapes
HEAD_REPEATS = 3


@dataclass(frozen=True)
class EfficientDetSpec:
    """Size of one family member."""

    backbone: EfficientNetSpec
    channels: int  # of the pyramid and the heads
    cells: int  # how often the pyramid is fused
    input_size: int  # pixels a side, as published


FAMILY: Mapping[str, EfficientDetSpec] = {
    "efficientdet-d0": EfficientDetSpec(EfficientNetSpec(1.0, 1.0), 64, 3, 512),
    "efficientdet-d1": EfficientDetSpec(EfficientNetSpec(1.0, 1.1), 88, 4, 640),
    "efficientdet-d2": EfficientDetSpec(EfficientNetSpec(1.1, 1.2), 112, 5, 768),
}


def features_at(split_point: str) -> tuple[str, ...]:
    """Return which stages' outputs must be known to go on after a split point.

    The pyramid reads c3 and c4, so a split after c4 needs both. ConfigError on an unknown one.
    """
    return features_needed(split_point, SPLIT_POINTS, STAGES, NECK_INPUTS)


class LevelConv(nn.Module):
    """A separable convolution whose pointwise half is each level's own: normalisation has been folded into it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.conv_pw = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in LEVELS)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """Map one level (N, C, H, W) to the same shape."""
        y: Tensor = self.conv_pw[level](self.conv_dw(x))
        return y


class Head(nn.Module):
    """Convolutions that all levels share, each level with normalisations of its own."""

    def __init__(self, channels: int, outputs: int, fused: bool) -> None:
        super().__init__()
        self.outputs = outputs
        repeats = range(HEAD_REPEATS)
        self.conv_rep = nn.ModuleList(
            LevelConv(channels) if fused else SeparableConv(channels, channels) for _ in repeats
        )
        self.bn_rep = nn.ModuleList([] if fused else [_level_norms(channels) for _ in repeats])
        self.act = nn.SiLU(inplace=True)
        self.predict = SeparableConv(channels, outputs * ANCHORS_PER_CELL)

    def forward(self, pyramid: tuple[Tensor, ...]) -> Tensor:
        """Return predictions (N, A, outputs): levels, then rows, columns and the anchors of a cell."""
        return torch.cat([self._level(level, x) for level, x in enumerate(pyramid)], dim=1)

    def _level(self, level: int, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.conv_rep):
            x = conv(x, level) if isinstance(conv, LevelConv) else self.bn_rep[i][level](conv(x))  # type: ignore[index]
            x = self.act(x)
        found: Tensor = self.predict(x)
        # Not by len(): an export would take that for a constant.
        return found.permute(0, 2, 3, 1).reshape(found.shape[0], -1, self.outputs)

    def fuse(self) -> None:
        """Fold the normalisations of each level; no-op if folded already."""
        for i, norms in enumerate(self.bn_rep):
            self.conv_rep[i] = _folded(self.conv_rep[i], norms)
        self.bn_rep = nn.ModuleList()


def _level_norms(channels: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Sequential(OrderedDict(bn=normalisation(channels, fused=False))) for _ in LEVELS)


def _folded(conv: nn.Module, norms: nn.Module) -> LevelConv:
    assert isinstance(conv, SeparableConv) and isinstance(norms, nn.ModuleList)
    folded = LevelConv(conv.conv_dw.in_channels)
    folded.conv_dw = conv.conv_dw
    layers = [cast(nn.BatchNorm2d, norm.get_submodule("bn")) for norm in norms]
    folded.conv_pw = nn.ModuleList(fold_batch_norm(conv.conv_pw, layer) for layer in layers)
    return folded


class EfficientDet(Detector):
    """A detector, whole or from a split point on.

    name: a key of FAMILY. split_point: None for the whole detector. fused: build with folded batch normalisation; a
    public checkpoint wants fused=False, and `fuse()` afterwards.
    """

    def __init__(self, name: str, classes: int, split_point: str | None = None, fused: bool = True) -> None:
        super().__init__()
        if name not in FAMILY:
            raise ConfigError(f"unknown detector {name!r}; choose one of {', '.join(FAMILY)}")
        if split_point is not None:
            features_at(split_point)
        self.name, self.spec = name, FAMILY[name]
        kept = STAGES if split_point is None else STAGES[STAGES.index(split_point) + 1 :]
        self.backbone = EfficientNet(self.spec.backbone, kept, fused)
        inputs = tuple(self.spec.backbone.channels(stage) for stage in NECK_INPUTS)
        self.fpn = BiFPN(inputs, self.spec.channels, self.spec.cells, fused)
        self.class_net = Head(self.spec.channels, classes, fused)
        self.box_net = Head(self.spec.channels, 4, fused)

    def trace(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return everything on the way by name: stages, "p3" to "p7" and "raw" (`Detector.trace`).

        raw (N, A, 4 + classes): dy, dx, log height, log width relative to the anchor, then the logits of the classes.
        """
        computed = self.backbone(features)
        pyramid = self.fpn(tuple(computed[stage] for stage in NECK_INPUTS))
        return {**computed, **dict(zip(PYRAMID, pyramid, strict=True)), RAW: self.heads(pyramid)}

    def heads(self, pyramid: tuple[Tensor, ...]) -> Tensor:
        """Return the raw predictions (N, A, 4 + classes) of a fused pyramid."""
        return torch.cat((self.box_net(pyramid), self.class_net(pyramid)), dim=2)

    def next_stage(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features with the output of the stage behind the split point; c5 only the pyramid reads."""
        stage = self.backbone.stages[0]
        before = STAGES[STAGES.index(stage) - 1]
        return dict(features) if stage == "c5" else {**features, stage: self.backbone.run(stage, features[before])}

    def fuse(self) -> EfficientDet:
        """Fold every batch normalisation, in place; returns itself."""
        for head in (self.class_net, self.box_net):
            head.fuse()
        return fuse_all(self)

    def keep_from(self, split_point: str) -> None:
        """Drop the stages up to the split point: what remains is the server's part."""
        features_at(split_point)
        self.backbone.keep_from(split_point)
