"""YOLOX as an `Architecture`: its stages, nodes and what its raw predictions mean."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import ConfigError
from splitnet.nn.detector import IMAGE, RAW, Architecture, Detector, Node, Size
from splitnet.nn.yolox.blocks import Focus
from splitnet.nn.yolox.boxes import detections_from_raw
from splitnet.nn.yolox.network import FAMILY, SPLIT_POINTS, STAGE_STRIDES, STAGES, YOLOX, features_at, stages_to

SILU_MIN = -0.2784645  # every stage ends in SiLU, which says nothing below


class YOLOXArchitecture(Architecture):
    """YOLOX, nano to x."""

    input_sizes: Mapping[str, int] = {name: spec.input_size for name, spec in FAMILY.items()}
    split_points: tuple[str, ...] = SPLIT_POINTS
    # Behind the neck's first node and its second there is more to send than before or behind them.
    cuts: tuple[str, ...] = (*STAGES, "p3", "p5")
    strides: Mapping[str, int] = {**STAGE_STRIDES, "top": 32, "middle": 16, "p3": 8, "p4": 16, "p5": 32}
    coarsest: int = 32
    fills: bool = False
    floor: float = SILU_MIN

    def build(self, name: str, classes: int, split_point: str | None = None, fused: bool = True) -> YOLOX:
        """Return a network with random weights (`Architecture`)."""
        return YOLOX(name, classes, split_point, fused)

    def channels(self, name: str, stage: str) -> int:
        """Return the number of channels after a stage of a member."""
        return FAMILY[name].channels(stage)

    def features_at(self, split_point: str) -> tuple[str, ...]:
        """Return which stages' outputs must be known to go on after a split point (`Architecture`)."""
        return features_at(split_point)

    def stages_to(self, name: str, split_point: str) -> nn.ModuleDict:
        """Return the fused stages of a member up to a split point, by name."""
        return stages_to(name, split_point)

    def stage_of(self, detector: Detector, stage: str) -> nn.Module:
        """Return one stage of a fused detector, with its weights (`Architecture`)."""
        assert isinstance(detector, YOLOX)
        own: nn.Module = getattr(detector.backbone.backbone, stage)
        return own

    def simplified(self, stage: nn.Module) -> nn.Module:
        """Return a stage whose focus is a single convolution."""
        return stage.merged() if isinstance(stage, Focus) else stage

    def nodes(self, detector: Detector) -> tuple[Node, ...]:
        """Return the nodes of a whole detector, in order of execution.

        "top" and "middle" are what the neck's way down leaves at strides 32 and 16 for its way up.
        """
        assert isinstance(detector, YOLOX)
        neck, backbone = detector.backbone, detector.backbone.backbone
        if backbone.stages != STAGES:
            raise ConfigError("this detector is cut already: give the whole one")

        def merged(layer: str, *inputs: Tensor) -> Tensor:
            x: Tensor = getattr(neck, layer)(torch.cat(inputs, dim=1))
            return x

        def up(x: Tensor) -> Tensor:
            return torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")

        before = (IMAGE, *STAGES)
        return (
            *(Node(stage, (before[i],), getattr(backbone, stage)) for i, stage in enumerate(STAGES)),
            Node("top", ("dark5",), neck.lateral_conv0),
            Node("middle", ("top", "dark4"), lambda top, dark4: neck.reduce_conv1(merged("C3_p4", up(top), dark4))),
            Node("p3", ("middle", "dark3"), lambda middle, dark3: merged("C3_p3", up(middle), dark3)),
            Node("p4", ("p3", "middle"), lambda p3, middle: merged("C3_n3", neck.bu_conv2(p3), middle)),
            Node("p5", ("p4", "top"), lambda p4, top: merged("C3_n4", neck.bu_conv1(p4), top)),
            Node(RAW, ("p3", "p4", "p5"), lambda *pyramid: detector.head(pyramid)),
        )

    def detections(self, raw: Tensor, size: Size, score_threshold: float = SCORE_THRESHOLD) -> list[Detections]:
        """Turn raw predictions (N, A, 5 + classes) into detections; each class is suppressed for itself."""
        return detections_from_raw(raw, size, score_threshold)
