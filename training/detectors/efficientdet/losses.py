"""EfficientDet's losses: focal loss of the classes, Huber loss of the boxes, over anchors matched by overlap.

Focal loss after Lin et al. (arXiv 1708.02002); weights and thresholds are those of EfficientDet's published training
(Tan et al., arXiv 1911.09070, 5.1, and the hyperparameters of google/automl/efficientdet).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.efficientdet.anchors import anchor_boxes, corners_of, encode_boxes
from splitnet.nn.suppression import pairwise_iou

MATCHED_OVERLAP = 0.5  # from which an anchor is to find an object
ALPHA, GAMMA = 0.25, 1.5
HUBER_DELTA = 0.1  # in the coding of boxes
BOX_WEIGHT = 50.0


def efficientdet_losses(
    raw: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], square: int
) -> dict[str, Tensor]:
    """Return the weighted losses by name, and "positives", the mean number of matched anchors in an image.

    raw: (N, A, 4 + C), see `efficientdet.EfficientDet.trace`. boxes (n, 4) xyxy in pixels of the square, and labels
    (n,) int64, of each image. Sums are divided by the number of matched anchors in the batch.
    """
    raw = raw.float()
    anchors = anchor_boxes(square, raw.device)
    corners = corners_of(anchors)
    objects = [match_anchors(corners, truth) for truth in boxes]
    targets = torch.zeros_like(raw[..., 4:])
    for image, found, label in zip(targets, objects, labels, strict=True):
        positive = (found >= 0).nonzero().flatten()
        image[positive, label[found[positive]]] = 1.0
    count = sum(int((found >= 0).sum()) for found in objects)
    predicted = torch.cat([one[found >= 0, :4] for one, found in zip(raw, objects, strict=True)])
    truth = [encode_boxes(b[found[found >= 0]], anchors[found >= 0]) for b, found in zip(boxes, objects, strict=True)]
    distance = F.huber_loss(predicted, torch.cat(truth), reduction="sum", delta=HUBER_DELTA)
    return {
        "class": focal_loss(raw[..., 4:], targets) / (count + 1),
        "box": BOX_WEIGHT * distance / (4 * (count + 1)),
        "positives": torch.tensor(count / len(raw)),
    }


@torch.no_grad()
def match_anchors(corners: Tensor, truth: Tensor) -> Tensor:
    """Return which object each anchor is to find, (A,) int64, or -1.

    corners (A, 4) and truth (G, 4) xyxy. An anchor takes the object that it overlaps most, if that is enough; an
    object's best anchor takes it in any case, so that none is left without.
    """
    if not len(truth):
        return torch.full((len(corners),), -1, dtype=torch.int64, device=corners.device)
    overlaps = pairwise_iou(truth, corners)
    best, objects = overlaps.max(dim=0)
    objects = torch.where(best >= MATCHED_OVERLAP, objects, -1)
    objects[overlaps.argmax(dim=1)] = torch.arange(len(truth), device=corners.device)
    return objects


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the focal loss of logits against targets 0 or 1 of the same shape, summed.

    What is right already counts for little, so that the many anchors that see nothing do not drown the others.
    """
    scores = logits.sigmoid()
    wrong = targets * (1 - scores) + (1 - targets) * scores
    weights = targets * ALPHA + (1 - targets) * (1 - ALPHA)
    return (weights * wrong**GAMMA * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")).sum()
