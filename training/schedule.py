"""What changes over the steps of a distillation. Pure functions of progress in 0..1."""

from __future__ import annotations

import math
from collections.abc import Mapping

WARM_UP = 0.02  # share of the steps in which the learning rate rises
JOINT = 0.45  # from here on the whole server half is trained and its outputs are distilled
PRICE_RAMP = 0.5  # share of the steps in which bytes get to their full price
FIRST_PRICE = 0.05  # share of that price in the beginning

# Features first; necks and heads later. From the start they stall (measured; docs/training.md).
FEATURE_STAGE: Mapping[str, float] = {"dark3": 1.0, "dark4": 1.0}
JOINT_STAGE: Mapping[str, float] = {"dark3": 0.25, "dark4": 0.25, "p3": 0.7, "p4": 0.7, "p5": 0.7, "raw": 0.5}


def is_joint(progress: float) -> bool:
    """Say whether the rest of the detector is trained too."""
    return progress >= JOINT


def loss_weights(progress: float) -> Mapping[str, float]:
    """Return the weight of each distilled output."""
    return JOINT_STAGE if is_joint(progress) else FEATURE_STAGE


def learning_rate(progress: float, warm_up: float = WARM_UP) -> float:
    """Return the factor on the peak learning rate: linear warm-up over a share, then one long cosine to 1 %."""
    if progress < warm_up:
        return max(progress, 1e-3) / warm_up
    after = min(1.0, (progress - warm_up) / (1 - warm_up))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * after))


def price_factor(progress: float) -> float:
    """Return the factor on the price of a bit: cheap at first, so that the latent learns to say something."""
    ramp = math.exp(math.log(FIRST_PRICE) * max(0.0, 1 - progress / PRICE_RAMP))  # geometric, as the prices are
    # The joint stage sums more terms of error, so a bit must cost more for the same rate.
    return ramp * (2.0 if is_joint(progress) else 1.0)
