"""SimOTA: which anchors are to find which object (Ge et al., arXiv 2107.08430, after OTA, arXiv 2103.14259).

Each object takes the anchors that already do best for it, as many as overlap it well: what is best is learnt on the
way, not fixed beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.suppression import pairwise_iou

CENTRE_RADIUS = 2.5  # cells around an object's centre
OVERLAP_WEIGHT = 3.0  # of the cost of a poor overlap against that of a wrong class
MOST = 10  # anchors whose overlaps are summed up to how many an object takes
# Anchors that are not both in the object and near its centre are taken only where there are too few of the others.
_FAR = 1e5


@dataclass(frozen=True, eq=False)
class Assignment:
    """Positive anchors, (P,) each: index of the anchor, of its object, and their overlap as predicted now."""

    anchors: Tensor
    objects: Tensor
    overlaps: Tensor


@torch.no_grad()
def assign(
    boxes: Tensor, objectness: Tensor, classes: Tensor, centres: Tensor, strides: Tensor, truth: Tensor, labels: Tensor
) -> Assignment:
    """Return the positive anchors of one image.

    boxes (A, 4) xyxy, objectness (A,) and classes (A, C) logits, as predicted; centres (A, 2) and strides (A, 1) of the
    anchors' cells, pixels. truth (G, 4) xyxy and labels (G,) int64: the objects.
    """
    if not len(truth):
        nothing = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        return Assignment(nothing, nothing, boxes.new_zeros(0))
    inside, near = _geometry(centres, strides, truth)
    candidates = (inside | near).any(dim=0).nonzero().flatten()
    overlaps = pairwise_iou(truth, boxes[candidates])
    cost = class_cost(objectness[candidates], classes[candidates], labels)
    cost = cost - OVERLAP_WEIGHT * torch.log(overlaps + 1e-8)
    cost = cost + _FAR * ~(inside & near)[:, candidates]
    objects = matched(cost, dynamic_k(overlaps))
    positive = (objects >= 0).nonzero().flatten()
    objects = objects[positive]
    return Assignment(candidates[positive], objects, overlaps[objects, positive])


def _geometry(centres: Tensor, strides: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Say which cells (G, A) have their centre in an object, and which near its centre."""
    corners = truth[:, None]
    inside = ((centres > corners[..., :2]) & (centres < corners[..., 2:])).all(dim=2)
    middle = (corners[..., :2] + corners[..., 2:]) / 2
    near = ((centres - middle).abs() < CENTRE_RADIUS * strides).all(dim=2)
    return inside, near


def class_cost(objectness: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """Return what each anchor's classes cost for objects of these labels, (G, n).

    The binary cross-entropy, summed over the classes, of sqrt(objectness x class) against the label alone. It differs
    between labels in one class only, so nothing of size (G, n, C) is needed.
    """
    log_p = (F.logsigmoid(objectness)[:, None] + F.logsigmoid(classes)) / 2
    log_not_p = torch.log1p(-log_p.exp()).clamp(min=-100)
    change = log_not_p - log_p.clamp(min=-100)
    return (change[:, labels] - log_not_p.sum(dim=1, keepdim=True)).T


def dynamic_k(overlaps: Tensor) -> Tensor:
    """Return how many anchors each object takes, (G,): the sum of its best overlaps (G, n), at least one."""
    best = overlaps.topk(min(MOST, overlaps.shape[1]), dim=1).values
    return best.sum(dim=1).int().clamp(min=1)


def matched(cost: Tensor, counts: Tensor) -> Tensor:
    """Return the object of each anchor (n,), -1 for none: the cheapest `counts` (G,) of each, by cost (G, n).

    An anchor wanted by several goes to the one for which it is cheapest.
    """
    ranks = cost.argsort(dim=1, stable=True).argsort(dim=1)
    wanted = ranks < counts[:, None]
    best = cost.masked_fill(~wanted, torch.inf).argmin(dim=0)
    return torch.where(wanted.any(dim=0), best, -1)
