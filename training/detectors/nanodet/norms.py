"""Give a NanoDet-Plus whose normalisation was folded away its normalisation back (`batch_norm` does it for a YOLOX)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from splitnet.nn.blocks import Foldable
from splitnet.nn.nanodet.network import NanoDet
from training.detectors.yolox.batch_norm import output_statistics


@torch.no_grad()
def restore_norms(folded: NanoDet, plain: NanoDet, images: Iterable[Tensor]) -> NanoDet:
    """Return `plain`, built with normalisation, as the same function as `folded`.

    images: batches (N, 3, S, S) float32 0..255, some hundred in all.
    """
    pairs = dict(normalised_convolutions(plain))
    convolutions = {name: _conv(folded, name) for name in pairs}
    statistics = output_statistics(folded, convolutions, images)
    for name, norm in pairs.items():
        bias, (mean, variance) = convolutions[name].bias, statistics[name]
        layer = plain.get_submodule(norm)
        assert isinstance(layer, nn.BatchNorm2d) and bias is not None
        assert layer.running_mean is not None and layer.running_var is not None
        _conv(plain, name).weight.copy_(convolutions[name].weight)
        layer.running_mean.copy_(mean - bias)
        layer.running_var.copy_(variance)
        layer.weight.copy_((variance + layer.eps).sqrt())
        layer.bias.copy_(mean)
    for theirs, ours in zip(folded.head.gfl_cls, plain.head.gfl_cls, strict=True):  # was never normalised
        ours.load_state_dict(theirs.state_dict())
    return plain


def normalised_convolutions(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of convolutions and of the normalisations behind them."""
    for prefix, module in network.named_modules():
        if isinstance(module, Foldable):
            for conv, norm in module.pairs:
                is_pair = isinstance(getattr(module, conv, None), nn.Conv2d)
                if is_pair and isinstance(getattr(module, norm, None), nn.BatchNorm2d):
                    yield f"{prefix}.{conv}", f"{prefix}.{norm}"


def _conv(network: nn.Module, name: str) -> nn.Conv2d:
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer
