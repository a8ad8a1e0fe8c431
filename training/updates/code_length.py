"""How many bits symbols take, with a slope: what a rate term of a loss needs.

A group's table follows from the group as it is now: its share of zeros, and how far the others reach. Between two
integers the cost is drawn straight. So the slope below one is what it costs to have a symbol at all, which is much
where few others are, and beyond it what one more step costs. Groups that hardly pay are thereby drawn to zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

_PRIOR = 0.5  # symbols of each sort that are taken to have been seen


def code_bits(latents: Tensor) -> Tensor:
    """Return about how many bits a group of latents (any shape) takes, rounded to symbols; a scalar with gradient."""
    magnitude = latents.abs()
    with torch.no_grad():
        rounded = latents.round().abs()
        nonzero, count = float((rounded > 0).sum()), latents.numel()
        share = (nonzero + _PRIOR) / (count + 2 * _PRIOR)
        mean = max(1.0, float(rounded.sum()) / max(nonzero, 1.0))
        stay = 1 - 1 / (mean + _PRIOR)  # of the geometric distribution: that one more step follows
        zero_bits = -_log2(1 - share)
        first_bits = 1 - _log2(share) - _log2(1 - stay)  # with the sign
        step_bits = -_log2(stay)
    below, beyond = magnitude.clamp(max=1.0), (magnitude - 1).clamp(min=0.0)
    return count * zero_bits + (first_bits - zero_bits) * below.sum() + step_bits * beyond.sum()


def _log2(share: float) -> float:
    return float(torch.tensor(share, dtype=torch.float64).log2())
