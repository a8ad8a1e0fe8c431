"""Features of an image, stretched so that they fill the detector's square.

Some detectors were trained on images stretched to a square, and find much less in one that is letterboxed, or that
fills a part of the square only. The device still scales a frame as it is, and sends what fits; it is the server that
stretches, for nothing more is to be computed or sent then. Pure; the sizes are data, so that a batch may mix them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def with_mask(latent: Tensor, height: int, width: int) -> Tensor:
    """Zero-pad a latent (..., C, h, w) to (..., C + 1, height, width); its last channel is 1 where an image is."""
    *front, channels, rows, columns = latent.shape
    padded = latent.new_zeros(*front, channels + 1, height, width)
    padded[..., :channels, :rows, :columns] = latent
    padded[..., channels, :rows, :columns] = 1.0
    return padded


def extent(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many rows and columns an image has, each (N,), by a mask (N, H, W) of ones from the top left on."""
    return mask[:, :, 0].sum(dim=1), mask[:, 0].sum(dim=1)


def stretched(features: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
    """Return features (N, C, side, side) that are the first rows and columns (N,) of (N, C, H, W), bilinearly."""
    down = interpolation(rows, features.shape[2], side)[:, None]
    across = interpolation(columns, features.shape[3], side)[:, None]
    return down.to(features.dtype) @ (features @ across.transpose(2, 3).to(features.dtype))


def interpolation(counts: Tensor, positions: int, side: int) -> Tensor:
    """Return matrices (N, side, positions) that spread the first `counts` (N,) of some positions over a side."""
    wanted = torch.arange(side, device=counts.device, dtype=torch.float32) + 0.5
    last = counts.float()[:, None] - 1
    source = torch.minimum((wanted * (last + 1) / side - 0.5).clamp(min=0.0), last)
    there = torch.arange(positions, device=counts.device, dtype=torch.float32)
    return (1 - (source[:, :, None] - there).abs()).clamp(min=0.0)
