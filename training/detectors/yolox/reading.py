"""A student's reading of the raw predictions of a YOLOX."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.detectors.reading import Reading, soft_cross_entropy

# Anchors in which the teacher believes less say nothing about classes and boxes.
MIN_BELIEF = 0.005


def attention(raw: Tensor, cells: int) -> Tensor:
    """Return where the teacher sees objects, (N, 1, cells, cells) in 0..1, from its raw predictions.

    cells: positions a side at stride 16. The score of an anchor is objectness times its best class; levels
    are brought to stride 16 by their maximum.
    """
    scores = (raw[..., 4].sigmoid() * raw[..., 5:].amax(dim=2).sigmoid()).sqrt()
    fine, middle, coarse = scores.split([4 * cells**2, cells**2, (cells // 2) ** 2], dim=1)
    maps = (
        F.max_pool2d(fine.unflatten(1, (1, 2 * cells, 2 * cells)), 2),
        middle.unflatten(1, (1, cells, cells)),
        F.interpolate(coarse.unflatten(1, (1, cells // 2, cells // 2)), scale_factor=2, mode="nearest"),
    )
    return F.max_pool2d(torch.stack(maps).amax(dim=0), 3, stride=1, padding=1)


def detection_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the distance of raw predictions (N, A, 5 + classes) from the teacher's.

    Objectness everywhere; classes and boxes only where the teacher believes in an object, and as far as it
    does. Each term is relative to the teacher's total belief in the batch, so that crowded and empty batches
    weigh alike.
    """
    objectness = teacher[..., 4].sigmoid()
    belief = objectness * teacher[..., 5:].amax(dim=2).sigmoid()
    total = belief.sum().clamp(min=1.0)
    object_term = soft_cross_entropy(student[..., 4], objectness).sum()
    believed = belief > MIN_BELIEF
    student, teacher, belief = student[believed], teacher[believed], belief[believed][:, None]
    class_term = (soft_cross_entropy(student[:, 5:], teacher[:, 5:].sigmoid()) * belief).sum()
    box_term = (F.smooth_l1_loss(student[:, :4], teacher[:, :4], reduction="none", beta=0.1) * belief).sum()
    return (object_term + class_term + box_term) / total


def scores(raw: Tensor) -> Tensor:
    """Return the scores (N, A, classes) of raw predictions: objectness times class."""
    return raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid()


READING = Reading(attention, detection_error, scores)
