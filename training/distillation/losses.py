"""Losses of a distillation: what the split detector must keep of its teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from training.detectors.reading import Reading

# Attention of the teacher: errors where it sees objects weigh up to this many times more.
OBJECT_WEIGHT = 4.0
# Features that are constant over a batch must not divide by zero.
MIN_VARIANCE = 1e-6


def feature_error(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted squared error of features (N, C, H, W), relative to the teacher's variance.

    weight: (N, 1, h, w), brought to the features' size. 1 means: no better than the mean.
    """
    variance = teacher.var(dim=(0, 2, 3), keepdim=True).mean().clamp(min=MIN_VARIANCE)
    scaled = F.interpolate(weight, size=teacher.shape[2:], mode="nearest")
    error = ((student - teacher) ** 2).mean(dim=1, keepdim=True)
    return (error * scaled).sum() / scaled.sum() / variance


def distillation_loss(
    student: Mapping[str, Tensor],
    teacher: Mapping[str, Tensor],
    weights: Mapping[str, float],
    reading: Reading,
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
