"""Images of one width run together: a batch of several widths, group by group."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def by_width(network: Callable[[Tensor, int], Tensor], images: Tensor, widths: Tensor) -> Tensor:
    """Return what a network makes of images (N, ...) at one width for each, in their order; widths (N,) int64.

    network: takes the images of one width, and that width.
    """
    of_image = widths.tolist()
    rows = {width: [i for i, w in enumerate(of_image) if w == width] for width in sorted(set(of_image))}
    found = torch.cat([network(images[chosen], width) for width, chosen in rows.items()])
    order = torch.tensor([i for chosen in rows.values() for i in chosen], device=images.device)
    return found[order.argsort()]
