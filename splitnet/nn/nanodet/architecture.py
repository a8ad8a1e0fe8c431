"""NanoDet-Plus as an `Architecture`: its stages, nodes and what its raw predictions mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import ConfigError
from splitnet.nn.detector import IMAGE, RAW, Architecture, BackboneStage, Detector, Node, Size
from splitnet.nn.nanodet.boxes import decode_boxes, point_grid
from splitnet.nn.nanodet.head import BINS, SIDES
from splitnet.nn.nanodet.network import FAMILY, NECK_INPUTS, SPLIT_POINTS, NanoDet, features_at, spec_of
from splitnet.nn.nanodet.shufflenet import STAGE_STRIDES, STAGES, ShuffleNet
from splitnet.nn.suppression import best_candidates, suppressed

IOU_THRESHOLD = 0.6  # from which a better box of the class suppresses another, as published
MAX_DETECTIONS = 100


class NanoDetArchitecture(Architecture):
    """NanoDet-Plus, m and m-1.5x."""

    input_sizes: Mapping[str, int] = {name: spec.input_size for name, spec in FAMILY.items()}
    split_points: tuple[str, ...] = SPLIT_POINTS
    # Only stages: behind any node of the pyramid, three levels or four would have to be sent.
    cuts: tuple[str, ...] = STAGES
    strides: Mapping[str, int] = STAGE_STRIDES
    coarsest: int = 64
    fills: bool = True
    floor: float = -math.inf  # the rectifier lets a tenth of what is negative through

    def build(self, name: str, classes: int, split_point: str | None = None, fused: bool = True) -> NanoDet:
        """Return a network with random weights (`Architecture`)."""
        return NanoDet(name, classes, split_point, fused)

    def channels(self, name: str, stage: str) -> int:
        """Return the number of channels after a stage of a member."""
        return spec_of(name).backbone.channels(stage)

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
        assert isinstance(detector, NanoDet)
        return _stage(detector.name, stage).taken_from(detector.backbone)

    def nodes(self, detector: Detector) -> tuple[Node, ...]:
        """Return the nodes of a whole detector, pyramid and head being one of them."""
        assert isinstance(detector, NanoDet)
        backbone = detector.backbone
        if backbone.stages != STAGES:
            raise ConfigError("this detector is cut already: give the whole one")

        def node(stage: str, before: str) -> Node:
            return Node(stage, (before,), lambda x: backbone.run(stage, x))

        def rest(*features: Tensor) -> Tensor:
            found: Tensor = detector.head(detector.fpn(features))
            return found

        before = (IMAGE, *STAGES)
        return (*(node(stage, before[i]) for i, stage in enumerate(STAGES)), Node(RAW, NECK_INPUTS, rest))

    def detections(self, raw: Tensor, size: Size, score_threshold: float = SCORE_THRESHOLD) -> list[Detections]:
        """Turn raw predictions (N, A, classes + 32) into detections; each class is suppressed for itself."""
        points, strides = point_grid(size, raw.device)
        return [_detect(image, points, strides, score_threshold) for image in raw.float()]


def _stage(name: str, stage: str) -> BackboneStage:
    return BackboneStage(stage, ShuffleNet(spec_of(name).backbone, (stage,), fused=True))


def _detect(raw: Tensor, points: Tensor, strides: Tensor, score_threshold: float) -> Detections:
    logits, reach = raw.split([raw.shape[1] - SIDES * BINS, SIDES * BINS], dim=1)
    # Most points are out by their best class, before anything of theirs is computed.
    rows = (logits.amax(dim=1) > math.log(score_threshold / (1 - score_threshold))).nonzero().flatten()
    among, labels, scores = best_candidates(logits[rows].sigmoid(), score_threshold)
    rows = rows[among]
    boxes = decode_boxes(reach[rows], points[rows], strides[rows])
    return suppressed(boxes, scores, labels, IOU_THRESHOLD, MAX_DETECTIONS)
