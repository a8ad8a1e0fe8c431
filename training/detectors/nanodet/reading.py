"""A student's reading of the raw predictions of a NanoDet-Plus, as `losses` has it for YOLOX."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.efficientdet.same_padding import strided
from splitnet.nn.nanodet.boxes import distances
from splitnet.nn.nanodet.head import BINS, SIDES
from training.detectors.reading import Reading, soft_cross_entropy

# Below this belief of both, teacher and student, a point says nothing.
MIN_BELIEF = 0.05
BOX_LOGITS = SIDES * BINS


def attention(raw: Tensor, cells: int) -> Tensor:
    """Return where the teacher sees objects, (N, 1, cells, cells) in 0..1; cells: positions a side at stride 16.

    A point's score is the root of its best class's, since scores are low; levels are brought to stride 16 by their
    maximum.
    """
    sides = (2 * cells, cells, strided(cells), strided(cells, 4))
    levels = class_logits(raw).amax(dim=2).sigmoid().sqrt().split([side**2 for side in sides], dim=1)
    finest, *coarser = (level.unflatten(1, (1, side, side)) for level, side in zip(levels, sides, strict=True))
    fitted = [F.max_pool2d(finest, 2), *(_to_stride_16(one, cells, 2**i) for i, one in enumerate(coarser))]
    return F.max_pool2d(torch.stack(fitted).amax(dim=0), 3, stride=1, padding=1)


def _to_stride_16(level: Tensor, cells: int, times: int) -> Tensor:
    larger = level.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    return larger[:, :, :cells, :cells]


def class_logits(raw: Tensor) -> Tensor:
    """Return the logits of the classes (..., C) of raw predictions (..., C + 32)."""
    return raw[..., :-BOX_LOGITS]


def detection_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the distance of raw predictions (N, A, C + 32) from the teacher's, relative to its total belief.

    Classes wherever one of both believes in an object; boxes only where the teacher does, and as far as it does:
    the divergence of the distributions (Zheng et al., arXiv 2102.12252) and the distance of their means, in strides.
    """
    belief, own = (class_logits(raw).amax(dim=2).sigmoid() for raw in (teacher, student.detach()))
    said = torch.maximum(belief, own) > MIN_BELIEF
    seen = belief > MIN_BELIEF
    class_term = soft_cross_entropy(class_logits(student[said]), class_logits(teacher[said]).sigmoid()).sum()
    box_term = (box_error(student[seen], teacher[seen]) * belief[seen]).sum()
    return (class_term + box_term) / belief[seen].sum().clamp(min=1.0)


def box_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the distance (n,) of the boxes of raw predictions (n, C + 32)."""
    ours, theirs = (raw[:, -BOX_LOGITS:] for raw in (student, teacher))
    own, wanted = (each.unflatten(1, (SIDES, BINS)).log_softmax(dim=2) for each in (ours, theirs))
    divergence = F.kl_div(own, wanted, reduction="none", log_target=True).sum(dim=(1, 2))
    return divergence + F.smooth_l1_loss(distances(ours), distances(theirs), reduction="none", beta=0.1).sum(dim=1)


def scores(raw: Tensor) -> Tensor:
    """Return the scores (N, A, classes) of raw predictions."""
    return class_logits(raw).sigmoid()


# The recipes name stages as YOLOX does: those at strides 8 and 16.
READING = Reading(attention, detection_error, scores, {"dark3": "stage2", "dark4": "stage3"})
