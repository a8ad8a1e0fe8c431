"""The cost of a training, from the shapes: the estimates in docs/own-detector.md."""

from __future__ import annotations

import pytest
from torch import nn

from splitnet.nn.yolox.architecture import YOLOXArchitecture
from training.detectors.cost import BYTES_PER_PARAMETER, Cost, detector_cost


class OneConvolution(nn.Module):
    """In place of a detector: what it keeps for the backward pass can be counted by hand."""

    def __init__(self, *_: object, fused: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.conv(x))


def test_the_cost_of_one_convolution_by_hand(monkeypatch):
    monkeypatch.setattr(YOLOXArchitecture, "build", lambda *_, fused: OneConvolution(fused=fused))
    found = detector_cost("yolox-nano", 10)
    assert found.gflops * 1e9 == pytest.approx(3 * 2 * 12 * 100)
    # Its input (3 channels), and its output before the activation (4 channels).
    assert found.activation_gb * 1e9 == pytest.approx((3 + 4) * 100 * 4)
    assert found.network_gb * 1e9 == pytest.approx(12 * BYTES_PER_PARAMETER)


def test_memory_grows_with_the_batch():
    assert Cost(1.0, 0.5, 2.0).memory_gb(8) == 6.0


@pytest.mark.parametrize(
    ("model", "square", "gflops", "memory_gb"), [("yolox-s", 640, 80, 6.2), ("efficientdet-d0", 512, 15.2, 8.7)]
)
def test_the_documented_estimates(model, square, gflops, memory_gb):
    found = detector_cost(model, square)
    assert found.gflops == pytest.approx(gflops, rel=0.01)
    assert found.memory_gb(16) == pytest.approx(memory_gb, rel=0.02)
