"""What the changes between two neighbouring frames would cost: an encoder learns to move a latent only for a reason."""

from __future__ import annotations

import torch
from torch import Tensor

HELD_STEPS = 0.75  # the device keeps a reference's symbol while the latent is so near: half a step and its hysteresis


def change_bits(first: Tensor, second: Tensor) -> Tensor:
    """Return about how many bits each pair's changes take, (N,), for latents (N, C, h, w) in steps.

    A difference d counts log2(1 + (d / 0.75)^2): next to nothing where the device would hold the symbol, and beyond
    that the logarithm that a code with heavy tails takes. It is smooth, so that a difference learns from every step.
    """
    return torch.log2(1 + ((first - second) / HELD_STEPS) ** 2).sum(dim=(1, 2, 3))
