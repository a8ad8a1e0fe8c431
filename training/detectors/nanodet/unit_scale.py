"""A NanoDet-Plus whose backbone says the same in larger numbers.

As published its features have a deviation of about a twentieth, so that learning rates that suit features of about one
are far too high for all that reads or makes them. Convolutions, pooling and leaky rectifiers are homogeneous: if the
first weights and all biases grow by a factor, so do all features. A power of two changes no digit, and where the neck
reads the features it is taken back.
"""

from __future__ import annotations

import torch
from torch import nn

from splitnet.nn.detector import Detector
from splitnet.nn.nanodet.network import NanoDet

FACTOR = 16.0  # a power of two
UNIT_FROM = 0.25  # deviation of features that need no factor


@torch.no_grad()
def at_unit_scale(detector: Detector) -> Detector:
    """Scale the features of a whole, fused NanoDet-Plus, in place, unless that is done already; returns it.

    Any other detector is left as it is.
    """
    if isinstance(detector, NanoDet) and not _is_scaled(detector):
        stem = detector.backbone.conv1[0]
        assert isinstance(stem, nn.Conv2d)
        stem.weight.mul_(FACTOR)
        for module in detector.backbone.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.mul_(FACTOR)
        for layer in detector.fpn.reduce_layers:
            layer.get_parameter("conv.weight").div_(FACTOR)
    return detector


def _is_scaled(detector: NanoDet) -> bool:
    noise = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    return bool(detector.backbone({"image": noise})["stage2"].std() > UNIT_FROM)
