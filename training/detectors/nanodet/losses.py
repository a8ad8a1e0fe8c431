"""NanoDet-Plus's losses: quality focal loss, distribution focal loss (Li et al., arXiv 2006.04388) and GIoU.

Weights and rules are those of the published training. Where a second, larger head says something too
(`nanodet_auxiliary`), it decides which points are positive, and learns by the same losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.nanodet.boxes import decode_boxes, point_grid
from splitnet.nn.nanodet.head import BINS, SIDES
from training.detectors.nanodet.assignment import assign_softly
from training.detectors.yolox.simota import Assignment

BOX_WEIGHT, DISTRIBUTION_WEIGHT = 2.0, 0.25
FOCUS = 2.0  # exponent of the distance from the quality
LAST_BIN = BINS - 1 - 0.1  # distances are cut off here, so that there is a bin above


@dataclass(frozen=True, eq=False)
class Targets:
    """The positive points of a batch, (P,) each, and what they are to say."""

    images: Tensor
    points: Tensor
    labels: Tensor
    overlaps: Tensor
    boxes: Tensor  # (P, 4) xyxy


def nanodet_losses(raw: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], square: int) -> dict[str, Tensor]:
    """Return the weighted losses by name, and "positives", the mean number of positive points in an image.

    raw: (N, A, C + 32), see `nanodet.network.NanoDet.trace`; or (N, 2A, C + 32), the auxiliary head's behind it. boxes
    (n, 4) xyxy in pixels of the square, and labels (n,) int64, of each image.
    """
    points, strides = point_grid(square, raw.device)
    heads = raw.float().split(len(points), dim=1)
    targets = _targets(heads[-1], points, strides, boxes, labels)
    losses: dict[str, Tensor] = {}
    for prefix, head in zip(("", "aux_"), heads, strict=False):
        losses |= {prefix + name: loss for name, loss in _head_losses(head, points, strides, targets).items()}
    return {**losses, "positives": torch.tensor(len(targets.points) / len(raw))}


def _targets(
    raw: Tensor, points: Tensor, strides: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
) -> Targets:
    classes, reach = raw.detach().split([raw.shape[2] - SIDES * BINS, SIDES * BINS], dim=2)
    predicted = decode_boxes(reach, points, strides)
    found: list[Assignment] = [
        assign_softly(box, logits, points, truth, label)
        for box, logits, truth, label in zip(predicted, classes, boxes, labels, strict=True)
    ]
    return Targets(
        torch.cat([torch.full_like(one.anchors, i) for i, one in enumerate(found)]),
        torch.cat([one.anchors for one in found]),
        torch.cat([label[one.objects] for label, one in zip(labels, found, strict=True)]),
        torch.cat([one.overlaps for one in found]),
        torch.cat([box[one.objects] for box, one in zip(boxes, found, strict=True)]),
    )


def _head_losses(raw: Tensor, points: Tensor, strides: Tensor, targets: Targets) -> dict[str, Tensor]:
    classes, reach = raw.split([raw.shape[2] - SIDES * BINS, SIDES * BINS], dim=2)
    quality = torch.zeros_like(classes)
    quality[targets.images, targets.points, targets.labels] = targets.overlaps
    reach = reach[targets.images, targets.points]
    at, stride = points[targets.points], strides[targets.points]
    surety = classes[targets.images, targets.points].detach().sigmoid().amax(dim=1)
    total = surety.sum().clamp(min=1.0)
    box = (giou_loss(decode_boxes(reach, at, stride), targets.boxes) * surety).sum() / total
    apart = torch.cat((at - targets.boxes[:, :2], targets.boxes[:, 2:] - at), dim=1) / stride
    spread = (distribution_focal_loss(reach, apart).mean(dim=1) * surety).sum() / total
    return {
        "class": quality_focal_loss(classes, quality) / max(1, len(targets.points)),
        "box": BOX_WEIGHT * box,
        "distribution": DISTRIBUTION_WEIGHT * spread,
    }


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Return the sum of the cross-entropy against qualities in 0..1, each times the square of its distance."""
    weight = (logits.detach().sigmoid() - quality).abs() ** FOCUS
    return (F.binary_cross_entropy_with_logits(logits, quality, reduction="none") * weight).sum()


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Return the cross-entropy (P, 4) of logits (P, 32) against the two bins around distances (P, 4), in strides."""
    wanted = distances.clamp(0.0, LAST_BIN)
    below = wanted.floor()
    share = (wanted - below)[..., None]
    logs = logits.unflatten(1, (SIDES, BINS)).log_softmax(dim=2)
    index = below.long()[..., None]
    likely: Tensor = logs.gather(2, index) * (1 - share) + logs.gather(2, index + 1) * share
    return -likely[..., 0]


def giou_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - GIoU (P,) of pairs of boxes (P, 4) xyxy (Rezatofighi et al., arXiv 1902.09630)."""
    overlap = _area(torch.maximum(predicted[:, :2], truth[:, :2]), torch.minimum(predicted[:, 2:], truth[:, 2:]))
    areas = [_area(one[:, :2], one[:, 2:]) for one in (predicted, truth)]
    union = (areas[0] + areas[1] - overlap).clamp(min=1e-6)
    hull = _area(torch.minimum(predicted[:, :2], truth[:, :2]), torch.maximum(predicted[:, 2:], truth[:, 2:]))
    hull = hull.clamp(min=1e-6)
    return 1 - overlap / union + (hull - union) / hull


def _area(top_left: Tensor, bottom_right: Tensor) -> Tensor:
    return (bottom_right - top_left).clamp(min=0).prod(dim=1)
