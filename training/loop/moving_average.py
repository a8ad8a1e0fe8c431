"""An exponential moving average of a network, by torch's own `AveragedModel`, and its part of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]
DECAY = 0.999
WARM_UP = 10  # updates over which the average looks back less far than later


def moving_average(module: nn.Module, decay: float = DECAY) -> AveragedModel:
    """Return the average of a module, to be told of each step by `update_parameters`; it begins with a copy.

    Parameters and buffers are averaged, counters copied. In the beginning the average moves faster: its u-th update
    keeps at most u / (u + WARM_UP) of what there was.
    """

    @torch.no_grad()
    def move(averages: Tensors, values: Tensors, models: Tensor | int) -> None:
        updates = int(models)
        kept = min(decay, updates / (updates + WARM_UP))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - kept)
        else:
            torch._foreach_copy_(averages, values)

    average = AveragedModel(module, multi_avg_fn=move, use_buffers=True)
    average.n_averaged.fill_(1)  # the copy
    return average


def average_state(average: AveragedModel) -> dict[str, Any]:
    """Return a checkpoint's entries: the averaged weights by the module's own names, and the number of updates."""
    return {"average": average.module.state_dict(), "updates": int(average.n_averaged) - 1}


def load_average(average: AveragedModel, state: Mapping[str, Any]) -> None:
    """Go on from a checkpoint's entries."""
    average.module.load_state_dict(state["average"])
    average.n_averaged.fill_(1 + state["updates"])
