"""How sharply the loss rises around some weights: the mean diagonal of its Hessian, tensor by tensor.

Differences of gradients along random signs (Hutchinson 1990; Bekas, Kokiopoulou, Saad 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

PROBES = 4
NUDGE = 0.1  # of the mean size of what the weights have changed by
LEAST = 1e-3  # of the median: no tensor is taken to matter less


def curvatures(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterator[Any],
    differences: Mapping[str, Tensor],
    seed: int,
) -> dict[str, float]:
    """Return the mean curvature for a weight of each named parameter, where the model is now. It is left as it was.

    differences: what the parameters have changed by, which says how far to look.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = {name: one for name, one in model.named_parameters() if name in differences}
    sums = dict.fromkeys(parameters, 0.0)
    for _ in range(PROBES):
        nudges = {
            name: (2.0 * torch.randint(0, 2, one.shape, generator=generator) - 1) * _size(one, differences[name])
            for name, one in parameters.items()
        }
        batch = next(batches)
        gradients = []
        for side in (1.0, -2.0):
            with torch.no_grad():
                for name, one in parameters.items():
                    one.add_(side * nudges[name])
            gradients.append(torch.autograd.grad(loss(model, batch), list(parameters.values()), allow_unused=True))
        with torch.no_grad():
            for name, one in parameters.items():
                one.add_(nudges[name])
        for (name, nudge), above, below in zip(nudges.items(), *gradients, strict=True):
            if above is not None and below is not None:
                sums[name] += float(((above - below) * nudge).sum() / (2 * nudge.pow(2).sum())) / PROBES
    known = sorted(value for value in sums.values() if value > 0) or [1.0]
    least = LEAST * known[len(known) // 2]
    return {name: max(value, least) for name, value in sums.items()}


def _size(parameter: Tensor, difference: Tensor) -> float:
    changed = float(difference.float().pow(2).mean().sqrt())
    return NUDGE * (changed if changed > 0 else 1e-2 * float(parameter.detach().pow(2).mean().sqrt()) + 1e-6)
