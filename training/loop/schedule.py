"""Schedules of the learning rate. Pure functions of progress in 0..1."""

from __future__ import annotations

import math

WARM_UP = 0.02  # share of the steps in which the learning rate rises


def learning_rate(progress: float, warm_up: float = WARM_UP) -> float:
    """Return the factor on the peak learning rate: linear warm-up over a share, then one long cosine to 1 %."""
    if progress < warm_up:
        return max(progress, 1e-3) / warm_up
    after = min(1.0, (progress - warm_up) / (1 - warm_up))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * after))
