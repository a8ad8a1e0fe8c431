"""Muon: momentum whose every update is brought to an orthogonal matrix.

Keller Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the iteration is their
quintic Newton-Schulz. For the pointwise convolutions here, one step teaches about what four of AdamW do
(docs/training.md). torch.optim.Muon takes plain matrices only; ours takes the stacked matrices of an ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Of the odd polynomial a x + b x^3 + c x^5 that pushes singular values towards 1; from the source above.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def is_matrix(parameter: Tensor) -> bool:
    """Return whether a parameter is dense matrices: no bias, no depthwise filters, no stem of 3 channels."""
    return parameter.dim() >= 3 and parameter.shape[1] > 3


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return matrices (N, rows, columns) with the same singular vectors and all singular values near 1."""
    a, b, c = _COEFFICIENTS
    x: Tensor = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    if tall:  # the iteration squares the shorter side
        x = x.transpose(1, 2)
    for _ in range(_ITERATIONS):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Takes groups {"params": [...], "stack": N}: each parameter is N matrices stacked along its first dimension.

    A convolution's kernels are flattened to columns. weight_decay is decoupled, as in AdamW.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "stack": 1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients there are."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)

    def _step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient: Tensor = parameter.grad  # type: ignore[assignment]
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient + group["momentum"] * momentum  # Nesterov
        columns = parameter.shape[-1] if parameter.dim() == 3 else parameter[0].numel()
        update = orthogonalised(ahead.reshape(group["stack"], -1, columns))
        scale = max(1.0, update.shape[1] / update.shape[2]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] * scale)
