"""The step that every training here takes."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from training.loop.processes import ALONE, Processes

log = logging.getLogger(__name__)
MAX_GRADIENT_NORM = 2.0


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's learning rate to its "peak" times a factor."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def apply_gradients(
    loss: Tensor,
    module: nn.Module,
    *optimisers: torch.optim.Optimizer,
    max_norm: float = MAX_GRADIENT_NORM,
    processes: Processes = ALONE,
) -> bool:
    """Go down the gradient, the mean over all processes; False if it is not finite: one wild batch must not end a day.

    All processes then hold the same weights, if they did before.
    """
    module.zero_grad(set_to_none=True)
    loss.backward()
    processes.average(module)
    norm = nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    if not torch.isfinite(norm):
        log.warning("a gradient is not finite, the batch is skipped")
        return False
    for optimiser in optimisers:
        optimiser.step()
    return True
