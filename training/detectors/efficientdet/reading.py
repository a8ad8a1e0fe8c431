"""A student's reading of the raw predictions of an EfficientDet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.efficientdet.bifpn import LEVELS
from splitnet.nn.efficientdet.network import ANCHORS_PER_CELL
from splitnet.nn.efficientdet.same_padding import strided
from training.detectors.reading import Reading, soft_cross_entropy

# Below this belief of both, teacher and student, an anchor says nothing.
MIN_BELIEF = 0.05


def attention(raw: Tensor, cells: int) -> Tensor:
    """Return where the teacher sees objects, (N, 1, cells, cells) in 0..1; cells: positions a side at stride 16.

    A position's score is that of its best anchor and class; levels are brought to stride 16 by their maximum.
    """
    sides = [2 * cells, cells]
    while len(sides) < len(LEVELS):
        sides.append(strided(sides[-1]))
    scores = raw[..., 4:].amax(dim=2).sigmoid().unflatten(1, (-1, ANCHORS_PER_CELL)).amax(dim=2)
    levels = scores.split([side**2 for side in sides], dim=1)
    maps = [level.unflatten(1, (1, side, side)) for level, side in zip(levels, sides, strict=True)]
    finest, *coarser = maps
    fitted = [F.max_pool2d(finest, 2), *(F.interpolate(one, size=(cells, cells), mode="nearest") for one in coarser)]
    return F.max_pool2d(torch.stack(fitted).amax(dim=0), 3, stride=1, padding=1)


def detection_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the distance of raw predictions (N, A, 4 + classes) from the teacher's, relative to its total belief.

    Classes wherever one of both believes in an object; boxes only where the teacher does, and as far as it does.
    """
    belief, own = (raw[..., 4:].amax(dim=2).sigmoid() for raw in (teacher, student.detach()))
    said = torch.maximum(belief, own) > MIN_BELIEF
    seen = belief > MIN_BELIEF
    class_term = soft_cross_entropy(student[said][:, 4:], teacher[said][:, 4:].sigmoid()).sum()
    distance = F.smooth_l1_loss(student[seen][:, :4], teacher[seen][:, :4], reduction="none", beta=0.1)
    return (class_term + (distance * belief[seen][:, None]).sum()) / belief[seen].sum().clamp(min=1.0)


def scores(raw: Tensor) -> Tensor:
    """Return the scores (N, A, classes) of raw predictions."""
    return raw[..., 4:].sigmoid()


# The recipes name stages as YOLOX does: those at strides 8 and 16.
READING = Reading(attention, detection_error, scores, {"dark3": "c3", "dark4": "c4"})
