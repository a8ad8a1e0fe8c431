"""From YOLOX's raw predictions to boxes, and suppression for any detector. Pure; vectorised; no loop over boxes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from splitnet.detections import Detections
from splitnet.nn.yolox.network import HEAD_STRIDES

MAX_CANDIDATES = 500  # boxes that enter suppression; bounds its (n, n) overlap matrix


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a grid first made in inference must serve a training later on
def anchor_grid(input_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cell corners (A, 2) in cells and strides (A, 1) in pixels, in the order of the head's levels."""
    corners, strides = [], []
    for stride in HEAD_STRIDES:
        cells = torch.arange(input_size // stride, device=device, dtype=torch.float32)
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        corners.append(torch.stack((x.flatten(), y.flatten()), dim=1))
        strides.append(torch.full((len(corners[-1]), 1), float(stride), device=device))
    return torch.cat(corners), torch.cat(strides)


def decode_boxes(raw: Tensor, input_size: int) -> Tensor:
    """Map raw boxes (N, A, 4) to xyxy (N, A, 4) in pixels of the square."""
    corners, strides = anchor_grid(input_size, raw.device)
    centres = (raw[..., :2] + corners) * strides
    # A network never says more than a few units; a wild one must not overflow to infinity.
    sizes = raw[..., 2:4].clamp(max=12.0).exp() * strides
    return torch.cat((centres - sizes / 2, centres + sizes / 2), dim=-1)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return intersection over union of boxes (n, 4) and (m, 4) xyxy as (n, m)."""
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    areas = [(x[:, 2:] - x[:, :2]).clamp(min=0).prod(dim=1) for x in (a, b)]
    return overlap / (areas[0][:, None] + areas[1][None, :] - overlap).clamp(min=1e-9)


def non_maximum_suppression(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices to keep, best first, suppressing only within a class.

    boxes (n, 4) xyxy, scores (n,), labels (n,). Equals greedy suppression: a box goes if a better *kept*
    box of its class overlaps it. Solved as a fixed point over the whole overlap matrix
    (Cluster-NMS, Zheng et al., arXiv 2005.03572), which takes as many rounds as the longest chain.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], labels[order]
    suppresses = (pairwise_iou(boxes, boxes) > iou_threshold) & (labels[:, None] == labels[None, :])
    suppresses = suppresses.triu(diagonal=1)
    keep = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:
        refined = ~(suppresses & keep[:, None]).any(dim=0)
        if torch.equal(refined, keep):
            return order[keep]
        keep = refined


def detections_from_raw(
    raw: Tensor,
    input_size: int,
    score_threshold: float = 0.25,
    iou_threshold: float = 0.65,
    max_detections: int = 100,
) -> list[Detections]:
    """Turn raw predictions (N, A, 5 + classes) into detections in pixels of the square, one per picture.

    An anchor may be found as several classes; each class is suppressed for itself.
    """
    return [_detect(picture, input_size, score_threshold, iou_threshold, max_detections) for picture in raw.float()]


def _detect(
    raw: Tensor, input_size: int, score_threshold: float, iou_threshold: float, max_detections: int
) -> Detections:
    objectness = raw[:, 4].sigmoid()
    # A score is at most its objectness, so most anchors are out before their classes are looked at.
    anchors = (objectness > score_threshold).nonzero().flatten()
    scores = objectness[anchors, None] * raw[anchors, 5:].sigmoid()
    rows, labels, scores = best_candidates(scores, score_threshold)
    boxes = decode_boxes(raw[None, :, :4], input_size)[0, anchors[rows]]
    return suppressed(boxes, scores, labels, iou_threshold, max_detections)


def best_candidates(scores: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, labels and scores (n,) of the entries above a threshold in (A, classes), the best MAX_CANDIDATES."""
    rows, labels = (scores > threshold).nonzero(as_tuple=True)
    scores = scores[rows, labels]
    if len(scores) > MAX_CANDIDATES:
        best = scores.topk(MAX_CANDIDATES).indices
        rows, labels, scores = rows[best], labels[best], scores[best]
    return rows, labels, scores


def suppressed(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, max_detections: int) -> Detections:
    """Return the detections that are left of candidates (n, 4), (n,), (n,) after suppression, best first.

    A box that is not finite is left out: in half precision, a latent that no encoder makes overflows a network.
    """
    finite = boxes.isfinite().all(dim=1)
    boxes, scores, labels = boxes[finite], scores[finite], labels[finite]
    keep = non_maximum_suppression(boxes, scores, labels, iou_threshold)[:max_detections]
    return Detections(
        boxes[keep].cpu().numpy().astype(np.float32),
        scores[keep].cpu().numpy().astype(np.float32),
        labels[keep].cpu().numpy().astype(np.int32),
    )
