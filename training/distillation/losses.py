"""What the split detector must keep of its teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

# Attention of the teacher: errors where it sees objects weigh up to this many times more.
OBJECT_WEIGHT = 4.0
# Anchors in which the teacher believes less say nothing about classes and boxes.
MIN_BELIEF = 0.005
# Features that are constant over a batch must not divide by zero.
MIN_VARIANCE = 1e-6


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


def feature_error(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted squared error of features (N, C, H, W), relative to the teacher's variance.

    weight: (N, 1, h, w), brought to the features' size. 1 means: no better than the mean.
    """
    variance = teacher.var(dim=(0, 2, 3), keepdim=True).mean().clamp(min=MIN_VARIANCE)
    scaled = F.interpolate(weight, size=teacher.shape[2:], mode="nearest")
    error = ((student - teacher) ** 2).mean(dim=1, keepdim=True)
    return (error * scaled).sum() / scaled.sum() / variance


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


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy against soft targets, minus its least value, so that a perfect copy gives zero."""
    least = F.binary_cross_entropy(target, target, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") - least


@dataclass(frozen=True)
class Reading:
    """What the raw predictions of a family of detectors say."""

    attention: Callable[[Tensor, int], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]  # of a student's from its teacher's
    stages: Mapping[str, str] = field(default_factory=dict)  # its own names of what recipes call as YOLOX does


YOLOX_READING = Reading(attention, detection_error)


def distillation_loss(
    student: Mapping[str, Tensor],
    teacher: Mapping[str, Tensor],
    weights: Mapping[str, float],
    reading: Reading = YOLOX_READING,
) -> dict[str, Tensor]:
    """Return each weighted term by name; names not in `student` are left out.

    weights: by name of a feature ("dark3", "p4", ...) or "raw" for the detections.
    """
    raw = teacher["raw"]
    cells = teacher[reading.stages.get("dark4", "dark4")].shape[2]
    attended = 1.0 + OBJECT_WEIGHT * reading.attention(raw, cells)
    terms = {}
    for usual, weight in weights.items():
        name = reading.stages.get(usual, usual)
        if weight and name in student:
            if name == "raw":
                terms[name] = weight * reading.error(student["raw"], raw)
            else:
                terms[name] = weight * feature_error(student[name], teacher[name], attended)
    return terms
