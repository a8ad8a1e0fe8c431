"""Multiply-accumulates: known ones, and those that torch counts itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from splitnet.bundle import load_device, load_server
from splitnet.letterbox import Letterbox
from splitnet.nn.efficientdet.network import EfficientDet
from splitnet.nn.macs import count_macs, parameter_count
from splitnet.nn.yolox.network import YOLOX

COCO_NANO = Path(__file__).resolve().parents[3] / "bundles" / "coco-nano"


def by_torch(run) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def test_macs_of_a_convolution_are_counted_exactly():
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2)
    assert count_macs(conv, lambda: conv(torch.zeros(2, 4, 5, 7))) == 2 * 6 * 5 * 7 * (2 * 9)
    assert parameter_count(conv) == 6 * 2 * 9 + 6


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.ConvTranspose2d(4, 6, 2, stride=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
    ],
)
def test_a_layer_has_the_macs_that_torch_counts(layer):
    x = torch.zeros(2, 4, 6, 8)
    assert count_macs(layer, lambda: layer(x)) == by_torch(lambda: layer(x)) > 0


@pytest.mark.parametrize(("family", "name"), [(YOLOX, "yolox-nano"), (EfficientDet, "efficientdet-d0")])
def test_a_detector_has_the_macs_that_torch_counts(family, name):
    detector, image = family(name, 3).eval(), torch.zeros(1, 3, 64, 64)
    assert count_macs(detector, lambda: detector(image)) == by_torch(lambda: detector(image)) > 0


def test_both_halves_of_a_bundle_have_the_macs_that_torch_counts():
    device, server = load_device(COCO_NANO), load_server(COCO_NANO)
    box = Letterbox.fit(640, 480, device.manifest.side(1))
    canvas = torch.zeros(1, 3, box.canvas_height, box.canvas_width)
    encoder = device.manifest.encoder.make(device.manifest.detector, device.manifest.split_point)
    counted = device.encoder.mmacs(1, box.canvas_height, box.canvas_width)
    assert counted == by_torch(lambda: encoder(canvas)) / 1e6 == pytest.approx(40.7, abs=0.05)
    latent = torch.zeros(1, *device.manifest.latent_size)
    assert count_macs(server.half, lambda: server.half(latent)) == by_torch(lambda: server.half(latent))


def test_a_normalisation_that_is_not_folded_counts_two_for_each_element():
    block = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5)).eval()
    assert count_macs(block, lambda: block(torch.zeros(1, 3, 4, 4))) == 5 * 16 * 3 + 2 * 5 * 16
