"""Raw predictions of a YOLOX on a tiny square."""

from __future__ import annotations

import torch

CELLS = 2  # a square of 32 pixels: 16 + 4 + 1 anchors
ANCHORS = 4 * CELLS**2 + CELLS**2 + (CELLS // 2) ** 2
CERTAIN = 20.0  # as a logit; its negative is certain too


def predictions(images: int = 1, classes: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(images, ANCHORS, 5 + classes, generator=torch.Generator().manual_seed(seed))


def nothing_seen(images: int = 1, cells: int = CELLS, classes: int = 3) -> torch.Tensor:
    return torch.full((images, 4 * cells**2 + cells**2 + (cells // 2) ** 2, 5 + classes), -CERTAIN)
