"""Give a detector whose batch normalisation was folded away its normalisation back, so that it can be trained again.

The folded convolution is kept. A normalisation follows, with the statistics of its outputs on some images, and with the
scale and shift that undo it. The network stays the same function, and trains as it was trained before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from splitnet.nn.yolox.blocks import ConvBlock
from splitnet.nn.yolox.network import YOLOX


@torch.no_grad()
def restore_batch_norm(folded: YOLOX, plain: YOLOX, images: Iterable[Tensor]) -> YOLOX:
    """Return `plain`, built with normalisation, as the same function as `folded`.

    images: batches (N, 3, S, S) float32 0..255, some hundred in all.
    """
    blocks = {name: block for name, block in folded.named_modules() if isinstance(block, ConvBlock)}
    statistics = output_statistics(folded, {name: block.conv for name, block in blocks.items()}, images)
    targets = dict(plain.named_modules())
    for name, block in blocks.items():
        target = targets[name]
        assert isinstance(target, ConvBlock) and isinstance(target.bn, nn.BatchNorm2d) and block.conv.bias is not None
        assert target.bn.running_mean is not None and target.bn.running_var is not None
        mean, variance = statistics[name]
        target.conv.weight.copy_(block.conv.weight)
        target.bn.running_mean.copy_(mean - block.conv.bias)
        target.bn.running_var.copy_(variance)
        target.bn.weight.copy_((variance + target.bn.eps).sqrt())
        target.bn.bias.copy_(mean)
    for name, module in folded.named_modules():  # what was never normalised: the predictions
        if isinstance(module, nn.Conv2d) and not name.endswith(".conv"):
            targets[name].load_state_dict(module.state_dict())
    return plain


def output_statistics(
    folded: nn.Module, convolutions: dict[str, nn.Conv2d], images: Iterable[Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and variance of each channel of each convolution's outputs."""
    sums = {name: torch.zeros(3, c.out_channels, dtype=torch.float64) for name, c in convolutions.items()}

    def add(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            values = output.detach().double()
            sums[name][0] += values.sum(dim=(0, 2, 3)).cpu()
            sums[name][1] += (values**2).sum(dim=(0, 2, 3)).cpu()
            sums[name][2] += values[:, 0].numel()

        return hook

    hooks = [convolution.register_forward_hook(add(name)) for name, convolution in convolutions.items()]
    for batch in images:
        folded(batch)
    for one in hooks:
        one.remove()
    result = {}
    for name, (total, squares, count) in sums.items():
        mean = total / count
        result[name] = (mean.float(), (squares / count - mean**2).clamp(min=0).float())
    return result
