"""NanoDet-Plus, m and m-1.5x, in plain torch.

Unfused, parameters have the names and shapes of the public project, github.com/RangiLyu/nanodet, so that its
checkpoints load unchanged. A detector may be built without its first stages: then it is the part that runs on the
server, and takes the features at the split point instead of an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.nn.blocks import fuse_all
from splitnet.nn.detector import RAW, Detector, features_needed
from splitnet.nn.nanodet.ghost_pan import GhostPAN
from splitnet.nn.nanodet.head import Head
from splitnet.nn.nanodet.shufflenet import STAGES, ShuffleNet, ShuffleNetSpec, before

SPLIT_POINTS = ("stage1", "stage2a", "stage2", "stage3")
NECK_INPUTS = ("stage2", "stage3", "stage4")
PYRAMID = ("p3", "p4", "p5", "p6")


@dataclass(frozen=True)
class NanoDetSpec:
    """Size of one family member."""

    backbone: ShuffleNetSpec
    channels: int  # of the pyramid and the head
    input_size: int  # pixels a side, as published


def _spec(stage2: int, channels: int) -> NanoDetSpec:
    widths = {"stage2": stage2, "stage3": 2 * stage2, "stage4": 4 * stage2}
    return NanoDetSpec(ShuffleNetSpec(widths), channels, 416)


FAMILY: Mapping[str, NanoDetSpec] = {"nanodet-plus-m": _spec(116, 96), "nanodet-plus-m-1.5x": _spec(176, 128)}


def spec_of(name: str) -> NanoDetSpec:
    """Return the size of a member; ConfigError if there is no such one."""
    if name not in FAMILY:
        raise ConfigError(f"unknown detector {name!r}; choose one of {', '.join(FAMILY)}")
    return FAMILY[name]


def features_at(split_point: str) -> tuple[str, ...]:
    """Return which stages' outputs must be known to go on after a split point.

    The neck reads stage2 and stage3, so a split after stage3 needs both. ConfigError on an unknown one.
    """
    return features_needed(split_point, SPLIT_POINTS, STAGES, NECK_INPUTS)


class NanoDet(Detector):
    """A detector, whole or from a split point on.

    name: a key of FAMILY. split_point: None for the whole detector. fused: build with folded batch normalisation; a
    public checkpoint wants fused=False, and `fuse()` afterwards.
    """

    def __init__(self, name: str, classes: int, split_point: str | None = None, fused: bool = True) -> None:
        super().__init__()
        self.name, self.spec = name, spec_of(name)
        if split_point is not None:
            features_at(split_point)
        kept = STAGES if split_point is None else STAGES[STAGES.index(split_point) + 1 :]
        self.backbone = ShuffleNet(self.spec.backbone, kept, fused)
        c3, c4, c5 = (self.spec.backbone.channels(stage) for stage in NECK_INPUTS)
        self.fpn = GhostPAN((c3, c4, c5), self.spec.channels, fused)
        self.head = Head(self.spec.channels, classes, fused)

    def trace(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return everything on the way by name: stages, "p3" to "p6" and "raw" (`Detector.trace`).

        raw (N, A, classes + 32): logits of the classes, then for each side of the box those of its 8 bins.
        """
        computed = self.backbone(features)
        pyramid = self.fpn(tuple(computed[stage] for stage in NECK_INPUTS))
        return {**computed, **dict(zip(PYRAMID, pyramid, strict=True)), RAW: self.head(pyramid)}

    def next_stage(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features, and those of all stages up to stage3; stage4 is not run."""
        computed = dict(features)
        for stage in self.backbone.stages[:-1]:
            computed[stage] = self.backbone.run(stage, computed[before(stage)])
        return computed

    def fuse(self) -> NanoDet:
        """Fold every batch normalisation, in place; returns itself."""
        return fuse_all(self)

    def keep_from(self, split_point: str) -> None:
        """Drop the stages up to the split point: what remains is the server's part."""
        features_at(split_point)
        self.backbone.keep_from(split_point)
