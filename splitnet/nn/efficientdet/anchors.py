"""Anchors of EfficientDet and the coding of boxes relative to them. Pure.

Sizes, shapes and order are those of github.com/rwightman/efficientdet-pytorch (`effdet/anchors.py`), whose checkpoints
count on them. The coding is Faster R-CNN's (Ren et al., arXiv 1506.01497, 3.1.2), vertical before horizontal.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from splitnet.nn.detector import Size, sides
from splitnet.nn.efficientdet.bifpn import LEVELS
from splitnet.nn.efficientdet.same_padding import strided

SCALE = 4.0  # the side of a level's smallest anchor in strides
OCTAVES = (0.0, 1 / 3, 2 / 3)  # sizes, as powers of two
SHAPES = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))  # width and height, in sides
# A network says about 1; e^8 of any anchor is beyond any picture, and finite.
MAX_LOG_SIZE = 8.0


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # anchors first made in inference must serve a training later on
def anchor_boxes(size: Size, device: torch.device) -> Tensor:
    """Return the anchors (A, 4) of what the detector sees as centre y, centre x, height, width in pixels.

    Levels from the finest, in each rows, columns and then the nine anchors of a cell: three sizes of three shapes.
    """
    (rows, columns), levels = sides(size), []
    for level in range(1, LEVELS[-1] + 1):
        rows, columns = strided(rows), strided(columns)
        if level in LEVELS:
            levels.append(_level(sides(size), (rows, columns)))
    return torch.cat(levels).float().to(device)


def _level(pixels: tuple[int, int], cells: tuple[int, int]) -> Tensor:
    strides = [side / count for side, count in zip(pixels, cells, strict=True)]  # whole if it divides the side
    rows, columns = (
        (torch.arange(count, dtype=torch.float64) + 0.5) * stride for count, stride in zip(cells, strides, strict=True)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    lengths = [SCALE * max(strides) * 2**octave for octave in OCTAVES]
    sizes = torch.tensor([(one * height, one * width) for one in lengths for width, height in SHAPES]).double()
    places = torch.stack((y, x), dim=2).reshape(-1, 1, 2).expand(-1, len(sizes), 2)
    return torch.cat((places, sizes.expand(len(places), -1, -1)), dim=2).reshape(-1, 4)


def decode_boxes(coded: Tensor, anchors: Tensor) -> Tensor:
    """Map boxes (..., 4) relative to anchors (..., 4), see `encode_boxes`, to xyxy in pixels."""
    centres = coded[..., :2] * anchors[..., 2:] + anchors[..., :2]
    halves = coded[..., 2:].clamp(max=MAX_LOG_SIZE).exp() * anchors[..., 2:] / 2
    return torch.cat((centres - halves, centres + halves), dim=-1)[..., [1, 0, 3, 2]]


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Map boxes (..., 4) xyxy in pixels to dy, dx in anchors and log height, log width relative to the anchor's."""
    corners = boxes[..., [1, 0, 3, 2]]
    sizes = (corners[..., 2:] - corners[..., :2]).clamp(min=1e-3)
    centres = (corners[..., :2] + corners[..., 2:]) / 2
    shifts = (centres - anchors[..., :2]) / anchors[..., 2:]
    return torch.cat((shifts, (sizes / anchors[..., 2:]).log()), dim=-1)


def corners_of(anchors: Tensor) -> Tensor:
    """Return anchors (A, 4) as xyxy in pixels."""
    return decode_boxes(torch.zeros_like(anchors), anchors)
