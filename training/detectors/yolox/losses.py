"""YOLOX's losses (Ge et al., arXiv 2107.08430): box, objectness, class; distances of boxes as well at the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.yolox.boxes import anchor_grid, decode_boxes
from training.detectors.yolox.simota import assign

BOX_WEIGHT = 5.0  # of the overlap's loss, as in the public training recipe


def yolox_losses(
    raw: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], square: int, with_distance: bool
) -> dict[str, Tensor]:
    """Return the weighted losses by name, and "positives", the mean number of positive anchors in an image.

    raw: (N, A, 5 + C), see `yolox.Head`. boxes (n, 4) xyxy in pixels of the square, and labels (n,) int64, of each
    image. with_distance: add the L1 distance of raw boxes. Sums are divided by the number of positive anchors.
    """
    raw = raw.float()
    corners, strides = anchor_grid(square, raw.device)
    predicted = decode_boxes(raw[..., :4], square)
    centres = (corners + 0.5) * strides
    found = [
        assign(one_box.detach(), one[:, 4].detach(), one[:, 5:].detach(), centres, strides, truth, label)
        for one_box, one, truth, label in zip(predicted, raw, boxes, labels, strict=True)
    ]
    images = torch.cat([torch.full_like(f.anchors, i) for i, f in enumerate(found)])
    anchors = torch.cat([f.anchors for f in found])
    truth = torch.cat([b[f.objects] for b, f in zip(boxes, found, strict=True)])
    overlaps = torch.cat([f.overlaps for f in found])
    label = torch.cat([one[f.objects] for one, f in zip(labels, found, strict=True)])
    count = max(1, len(anchors))
    positive = raw[images, anchors]
    is_object = torch.zeros_like(raw[..., 4])
    is_object[images, anchors] = 1.0
    # The better a box fits, the surer its class is to be: scores then rank boxes by how well they fit.
    classes = F.one_hot(label, raw.shape[2] - 5) * overlaps[:, None]
    terms = {
        "box": BOX_WEIGHT * overlap_loss(predicted[images, anchors], truth),
        "object": F.binary_cross_entropy_with_logits(raw[..., 4], is_object, reduction="sum"),
        "class": F.binary_cross_entropy_with_logits(positive[:, 5:], classes, reduction="sum"),
    }
    if with_distance:
        targets = encode_boxes(truth, corners[anchors], strides[anchors])
        terms["distance"] = F.l1_loss(positive[:, :4], targets, reduction="sum")
    losses = {name: term / count for name, term in terms.items()}
    return {**losses, "positives": torch.tensor(len(anchors) / len(raw))}


def overlap_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the sum of 1 - IoU^2 over pairs of boxes (P, 4) xyxy; the square as in the public training recipe."""
    top_left = torch.maximum(predicted[:, :2], truth[:, :2])
    bottom_right = torch.minimum(predicted[:, 2:], truth[:, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(dim=1)
    areas = [(x[:, 2:] - x[:, :2]).clamp(min=0).prod(dim=1) for x in (predicted, truth)]
    iou = overlap / (areas[0] + areas[1] - overlap).clamp(min=1e-9)
    return (1 - iou**2).sum()


def encode_boxes(boxes: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """Return raw boxes (P, 4) that `decode_boxes` maps to these (P, 4) xyxy at cells (P, 2), strides (P, 1)."""
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat((centres / strides - corners, torch.log(sizes / strides)), dim=1)
