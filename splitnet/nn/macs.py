"""Count parameters and multiply-accumulates.

torch's own `FlopCounterMode` gives the same (a test holds the two together), but loads 75 MB of a compiler, which a
device does not have to spare for a figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())


@torch.inference_mode()
def count_macs(module: nn.Module, run: Callable[[], Any]) -> int:
    """Return the multiply-accumulates of `module` while `run()` executes.

    Convolutions are nearly all of it; a batch normalisation that is not folded adds two for each element,
    as in the published figures. FLOPs, as published, are twice this number.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):  # each element that goes in is spread by a kernel
            total += inputs[0].numel() * layer.weight[0].numel()
        else:
            total += output.numel() * (layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else 2)

    counted = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, counted)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return total
