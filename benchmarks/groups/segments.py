"""What a network would send if its feature maps were cut into strips, one a device (MoDNN, HALP)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BYTES_PER_VALUE = 2  # half precision


@torch.inference_mode()
def segment_bytes(network: nn.Module, image: Tensor, devices: int) -> int:
    """Return the bytes that all devices exchange for an image (1, C, H, W), by the shapes alone.

    Each convolution needs the rows beside its strip: half its kernel's height, from either neighbour, of all channels.
    (Mao et al., "MoDNN", DATE 2017.) Rows that pooling shifts across borders are not counted: this is the least.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            _, channels, _, width = inputs[0].shape
            total += (layer.kernel_size[0] // 2) * 2 * (devices - 1) * channels * width * BYTES_PER_VALUE

    hooks = [one.register_forward_hook(count) for one in network.modules() if isinstance(one, nn.Conv2d)]
    try:
        network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return total
