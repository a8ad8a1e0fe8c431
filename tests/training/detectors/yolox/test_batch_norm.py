"""A folded detector gets its normalisation back and stays the same function."""

from __future__ import annotations

import torch

from splitnet.nn.yolox.blocks import ConvBlock
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_student import CLASSES, make_teacher
from training.detectors.yolox.batch_norm import restore_batch_norm


def restored(seed: int = 0) -> tuple[YOLOX, YOLOX, torch.Tensor]:
    folded = make_teacher()
    with torch.no_grad():
        for module in folded.modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                module.bias.uniform_(-1, 1)
    images = 255 * torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    plain = restore_batch_norm(folded, YOLOX("yolox-nano", CLASSES, fused=False), images.split(2))
    return folded, plain, images


@torch.no_grad()
def test_in_evaluation_nothing_changes():
    folded, plain, _ = restored()
    image = 255 * torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(plain.eval()(image), folded(image), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_in_training_the_statistics_are_those_of_the_images():
    _, plain, images = restored()
    means = {}
    for name, block in plain.named_modules():
        if isinstance(block, ConvBlock) and block.bn is not None:
            block.bn.momentum = 1.0
            means[name] = block.bn.running_mean.clone()
    plain.train()(images)
    blocks = dict(plain.named_modules())
    first = "backbone.backbone.stem.conv"
    torch.testing.assert_close(blocks[first].bn.running_mean, means[first], rtol=1e-3, atol=1e-3)
    assert len(means) > 80


@torch.no_grad()
def test_folding_again_gives_the_first_detector():
    folded, plain, _ = restored()
    again = plain.fuse().state_dict()
    for name, value in folded.state_dict().items():
        torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-3)


def test_hooks_are_gone():
    folded, _, _ = restored()
    assert all(not module._forward_hooks for module in folded.modules())
