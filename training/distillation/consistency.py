"""What asks an encoder to hold still where a scene does: a symbol that moves for nothing costs a camera bytes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from splitnet.letterbox import LATENT_STRIDE

FREE_STEPS = 0.5  # a latent may move so far: the device keeps the reference's symbol that long
UNCHANGED_LEVELS = 4.0  # mean difference of a cell's values, of 255: a sensor's noise is below


def unchanged_positions(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 where two canvases (N, 3, h, w) float32 0..255 show the same, else 0: (N, 1, h / 16, w / 16) float32.

    A position's cell and the eight around it must be alike, since the encoder sees beyond a cell.
    """
    difference = (first - second).abs().mean(dim=1, keepdim=True)
    cells = F.avg_pool2d(difference, LATENT_STRIDE)
    return (F.max_pool2d(cells, 3, stride=1, padding=1) < UNCHANGED_LEVELS).to(first.dtype)


def consistency_loss(first: Tensor, second: Tensor, unchanged: Tensor) -> Tensor:
    """Return the mean squared excess over half a step of what latents (N, C, h, w), in steps, move where unchanged.

    unchanged: (N, 1, h, w), 1 or 0. It is 0 where nothing is unchanged.
    """
    excess = F.relu((first - second).abs() - FREE_STEPS) ** 2
    return (excess.mean(dim=1, keepdim=True) * unchanged).sum() / unchanged.sum().clamp(min=1.0)
