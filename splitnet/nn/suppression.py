"""Suppression of overlapping boxes, for any detector. Pure; vectorised; no loop over boxes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from splitnet.detections import Detections

MAX_CANDIDATES = 500  # boxes that enter suppression; bounds its (n, n) overlap matrix


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
