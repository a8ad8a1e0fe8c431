"""A student's reading of raw predictions; each family of detectors has its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """What the raw predictions of a family of detectors say."""

    attention: Callable[[Tensor, int], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]  # of a student's from its teacher's
    scores: Callable[[Tensor], Tensor]  # (N, A, classes) 0..1
    stages: Mapping[str, str] = field(default_factory=dict)  # its own names of what recipes call as YOLOX does


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy against soft targets, minus its least value, so that a perfect copy gives zero."""
    least = F.binary_cross_entropy(target, target, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") - least
