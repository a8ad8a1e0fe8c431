"""Dynamic soft labels: which points are to find which object, in NanoDet-Plus's published training.

As in SimOTA (`assign`), each object takes the points that already do best for it. Here what a class costs is measured
against the overlap that the box has now, a soft label, and nothing but the points inside objects is looked at.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.suppression import pairwise_iou
from training.detectors.yolox.simota import Assignment

OVERLAP_WEIGHT = 3.0  # of the cost of a poor overlap against that of a wrong class
MOST = 13  # points whose overlaps are summed up to how many an object takes


@torch.no_grad()
def assign_softly(boxes: Tensor, classes: Tensor, points: Tensor, truth: Tensor, labels: Tensor) -> Assignment:
    """Return the positive points of one image.

    boxes (A, 4) xyxy and classes (A, C) logits, as predicted; points (A, 2) xy in pixels. truth (G, 4) xyxy and labels
    (G,) int64: the objects.
    """
    candidates = _inside_any(points, truth)
    if not len(candidates):
        return Assignment(candidates, candidates, boxes.new_zeros(0))
    overlaps = pairwise_iou(truth, boxes[candidates])
    cost = soft_class_cost(classes[candidates], labels, overlaps) - OVERLAP_WEIGHT * torch.log(overlaps + 1e-7)
    objects = matched_softly(cost, overlaps)
    positive = (objects >= 0).nonzero().flatten()
    objects = objects[positive]
    return Assignment(candidates[positive], objects, overlaps[objects, positive])


def _inside_any(points: Tensor, truth: Tensor) -> Tensor:
    """Return the indices of the points (A, 2) inside at least one of the boxes (G, 4)."""
    corners = truth[:, None]
    inside = ((points > corners[..., :2]) & (points < corners[..., 2:])).all(dim=2)
    return inside.any(dim=0).nonzero().flatten()


def soft_class_cost(classes: Tensor, labels: Tensor, overlaps: Tensor) -> Tensor:
    """Return what each point's classes (n, C) cost for objects of these labels (G,), (G, n).

    The binary cross-entropy against the overlap (G, n) for the label and 0 for the other classes, each times the square
    of the distance from that. It differs between objects in one class only, so nothing of size (G, n, C) is needed.
    """
    scores = classes.sigmoid()
    absent = -F.logsigmoid(-classes) * scores**2
    own = scores.T[labels]
    logits = classes.T[labels]
    present = F.binary_cross_entropy_with_logits(logits, overlaps, reduction="none") * (overlaps - own) ** 2
    return absent.sum(dim=1) - absent.T[labels] + present


def matched_softly(cost: Tensor, overlaps: Tensor) -> Tensor:
    """Return the object of each point (n,), -1 for none, by cost (G, n) and overlaps (G, n).

    Each object takes its cheapest points, as many as its best overlaps sum up to. A point that several take goes to the
    object for which it is cheapest.
    """
    best = overlaps.topk(min(MOST, overlaps.shape[1]), dim=1).values
    counts = best.sum(dim=1).int().clamp(min=1)
    wanted = cost.argsort(dim=1, stable=True).argsort(dim=1) < counts[:, None]
    takers = wanted.sum(dim=0)
    chosen = torch.where(takers > 1, cost.argmin(dim=0), wanted.int().argmax(dim=0))
    return torch.where(takers > 0, chosen, -1)
