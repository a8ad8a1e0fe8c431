"""EfficientDet as an `Architecture`: its stages, nodes and what its raw predictions mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import ConfigError
from splitnet.nn.detector import IMAGE, RAW, Architecture, BackboneStage, Detector, Node, Size
from splitnet.nn.efficientdet.anchors import anchor_boxes, decode_boxes
from splitnet.nn.efficientdet.efficientnet import STAGE_STRIDES, STAGES, EfficientNet
from splitnet.nn.efficientdet.network import FAMILY, NECK_INPUTS, SPLIT_POINTS, EfficientDet, features_at
from splitnet.nn.suppression import best_candidates, suppressed

IOU_THRESHOLD = 0.5  # from which a better box of the class suppresses another, as in the public port
MAX_DETECTIONS = 100


class EfficientDetArchitecture(Architecture):
    """EfficientDet, D0 to D2."""

    input_sizes: Mapping[str, int] = {name: spec.input_size for name, spec in FAMILY.items()}
    split_points: tuple[str, ...] = SPLIT_POINTS
    # Only stages: behind any node of the pyramid, five levels would have to be sent.
    cuts: tuple[str, ...] = STAGES
    strides: Mapping[str, int] = STAGE_STRIDES
    coarsest: int = 128
    fills: bool = False
    floor: float = -math.inf  # stages end in a linear projection

    def build(self, name: str, classes: int, split_point: str | None = None, fused: bool = True) -> EfficientDet:
        """Return a network with random weights (`Architecture`)."""
        return EfficientDet(name, classes, split_point, fused)

    def channels(self, name: str, stage: str) -> int:
        """Return the number of channels after a stage of a member."""
        return FAMILY[name].backbone.channels(stage)

    def features_at(self, split_point: str) -> tuple[str, ...]:
        """Return which stages' outputs must be known to go on after a split point (`Architecture`)."""
        return features_at(split_point)

    def stages_to(self, name: str, split_point: str) -> nn.ModuleDict:
        """Return the fused stages of a member up to a split point, by name."""
        features_at(split_point)
        stages = STAGES[: STAGES.index(split_point) + 1]
        return nn.ModuleDict({stage: _stage(name, stage) for stage in stages})

    def stage_of(self, detector: Detector, stage: str) -> BackboneStage:
        """Return one stage of a fused detector, with its weights (`Architecture`)."""
        assert isinstance(detector, EfficientDet)
        return _stage(detector.name, stage).taken_from(detector.backbone)

    def nodes(self, detector: Detector) -> tuple[Node, ...]:
        """Return the nodes of a whole detector, pyramid and heads being one of them."""
        assert isinstance(detector, EfficientDet)
        backbone = detector.backbone
        if backbone.stages != STAGES:
            raise ConfigError("this detector is cut already: give the whole one")

        def node(stage: str, before: str) -> Node:
            return Node(stage, (before,), lambda x: backbone.run(stage, x))

        def rest(*features: Tensor) -> Tensor:
            return detector.heads(detector.fpn(features))

        before = (IMAGE, *STAGES)
        return (*(node(stage, before[i]) for i, stage in enumerate(STAGES)), Node(RAW, NECK_INPUTS, rest))

    def detections(self, raw: Tensor, size: Size, score_threshold: float = SCORE_THRESHOLD) -> list[Detections]:
        """Turn raw predictions (N, A, 4 + classes) into detections; each class is suppressed for itself."""
        anchors = anchor_boxes(size, raw.device)
        return [_detect(picture, anchors, score_threshold) for picture in raw.float()]


def _stage(name: str, stage: str) -> BackboneStage:
    return BackboneStage(stage, EfficientNet(FAMILY[name].backbone, (stage,), fused=True))


def _detect(raw: Tensor, anchors: Tensor, score_threshold: float) -> Detections:
    # Most anchors are out by their best class, before anything of theirs is computed.
    rows = (raw[:, 4:].amax(dim=1) > math.log(score_threshold / (1 - score_threshold))).nonzero().flatten()
    among, labels, scores = best_candidates(raw[rows, 4:].sigmoid(), score_threshold)
    rows = rows[among]
    boxes = decode_boxes(raw[rows, :4], anchors[rows])
    return suppressed(boxes, scores, labels, IOU_THRESHOLD, MAX_DETECTIONS)
