"""Pixels brought to the mean and the deviation that a detector was trained with."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Subtracts a mean from each channel, and divides by a deviation.

    Numbers, not tensors: nothing that a state would have to hold, or a recorded CUDA graph to copy.
    """

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, C, H, W) to the same shape."""
        channels = enumerate(zip(self.mean, self.deviation, strict=True))
        return torch.cat([(image[:, i : i + 1] - mean) / deviation for i, (mean, deviation) in channels], dim=1)
