"""Batches of small images, flipped and moved a little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 2  # pixels that an image is moved by at most
SMALL = 0.75  # scale of the images of the first epochs, which cost half


class Augmented:
    """Images at two scales, padded by reflection."""

    def __init__(self, pixels: Tensor) -> None:
        """Take images (N, 3, S, S) uint8, S a multiple of 4."""
        self.side = pixels.shape[-1]
        whole = F.pad(pixels.float(), (PADDING,) * 4, mode="reflect")
        small = F.interpolate(whole, scale_factor=SMALL, mode="bilinear", antialias=True, align_corners=False)
        self._padded = {False: whole.to(torch.uint8), True: small.round().clamp(0, 255).to(torch.uint8)}

    def batch(self, chosen: Tensor, flipped: Tensor, shifts: Tensor, small: bool = False) -> Tensor:
        """Return images (B, 3, S, S) float32. flipped: (B,) bool; shifts: (B, 2), 0..2 * PADDING: rows, columns."""
        source = self._padded[small]
        side = int(self.side * (SMALL if small else 1))
        room = source.shape[-1] - side
        moved = (shifts * room) // (2 * PADDING)
        rows = (moved[:, 0, None] + torch.arange(side))[:, None, :, None]
        columns = moved[:, 1, None] + torch.arange(side)
        columns = torch.where(flipped[:, None], columns.flip(1), columns)[:, None, None, :]
        return source[chosen[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns].float()


def random_shifts(count: int, generator: torch.Generator) -> Tensor:
    """Return shifts (count, 2) for `Augmented.batch`."""
    return torch.randint(0, 2 * PADDING + 1, (count, 2), generator=generator)
