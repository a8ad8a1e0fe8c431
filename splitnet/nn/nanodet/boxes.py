"""Boxes from NanoDet-Plus's raw predictions. Pure; vectorised."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from splitnet.nn.detector import Size, sides
from splitnet.nn.nanodet.head import BINS, SIDES, STRIDES


def level_sides(input_size: int) -> tuple[int, ...]:
    """Return the positions a side of each level, for a square of so many pixels."""
    return tuple(-(-input_size // stride) for stride in STRIDES)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a grid first made in inference must serve a training later on
def point_grid(size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return points (A, 2) xy in pixels and strides (A, 1), in the order of the head's levels, row by row."""
    points, strides = [], []
    for stride, *counts in zip(STRIDES, *map(level_sides, sides(size)), strict=True):
        rows, columns = (torch.arange(count, device=device, dtype=torch.float32) * stride for count in counts)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack((x.flatten(), y.flatten()), dim=1))
        strides.append(torch.full((x.numel(), 1), float(stride), device=device))
    return torch.cat(points), torch.cat(strides)


def distances(logits: Tensor) -> Tensor:
    """Map logits (..., 32) to the expected distances (..., 4) to left, top, right and bottom, in strides."""
    bins = torch.arange(BINS, device=logits.device, dtype=logits.dtype)
    expected: Tensor = (logits.unflatten(-1, (SIDES, BINS)).softmax(dim=-1) * bins).sum(dim=-1)
    return expected


def decode_boxes(logits: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Map logits (..., 32) at points (..., 2) with strides (..., 1) to boxes (..., 4) xyxy in pixels."""
    reach = distances(logits) * strides
    return torch.cat((points - reach[..., :2], points + reach[..., 2:]), dim=-1)
