"""Boxes from YOLOX's raw predictions. Pure."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.nn.detector import Size, sides
from splitnet.nn.suppression import best_candidates, suppressed
from splitnet.nn.yolox.network import HEAD_STRIDES


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a grid first made in inference must serve a training later on
def anchor_grid(size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cell corners (A, 2) in cells and strides (A, 1) in pixels, in the order of the head's levels."""
    corners, strides = [], []
    for stride in HEAD_STRIDES:
        rows, columns = (torch.arange(side // stride, device=device, dtype=torch.float32) for side in sides(size))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        corners.append(torch.stack((x.flatten(), y.flatten()), dim=1))
        strides.append(torch.full((len(corners[-1]), 1), float(stride), device=device))
    return torch.cat(corners), torch.cat(strides)


def decode_boxes(raw: Tensor, size: Size) -> Tensor:
    """Map raw boxes (N, A, 4) to xyxy (N, A, 4) in pixels of what the detector saw."""
    corners, strides = anchor_grid(size, raw.device)
    centres = (raw[..., :2] + corners) * strides
    # A network never says more than a few units; a wild one must not overflow to infinity.
    sizes = raw[..., 2:4].clamp(max=12.0).exp() * strides
    return torch.cat((centres - sizes / 2, centres + sizes / 2), dim=-1)


def detections_from_raw(
    raw: Tensor,
    size: Size,
    score_threshold: float = SCORE_THRESHOLD,
    iou_threshold: float = 0.65,
    max_detections: int = 100,
) -> list[Detections]:
    """Turn raw predictions (N, A, 5 + classes) into detections in pixels of what the detector saw, one per image.

    An anchor may be found as several classes; each class is suppressed for itself.
    """
    return [_detect(one, size, score_threshold, iou_threshold, max_detections) for one in raw.float()]


def _detect(raw: Tensor, size: Size, score_threshold: float, iou_threshold: float, max_detections: int) -> Detections:
    objectness = raw[:, 4].sigmoid()
    # A score is at most its objectness, so most anchors are out before their classes are looked at.
    anchors = (objectness > score_threshold).nonzero().flatten()
    scores = objectness[anchors, None] * raw[anchors, 5:].sigmoid()
    rows, labels, scores = best_candidates(scores, score_threshold)
    boxes = decode_boxes(raw[None, :, :4], size)[0, anchors[rows]]
    return suppressed(boxes, scores, labels, iou_threshold, max_detections)
