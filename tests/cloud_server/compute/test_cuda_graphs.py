"""A network that is recorded once per shape and replayed: on a GPU as CUDA graphs, here by running it again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cloud_server.compute.cuda_graphs import Captured, CudaGraphModule, Network


class Recorder:
    """Records as CUDA does: a replay reads one place in memory and writes another."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, network: Network, x: Tensor) -> Captured:
        self.shapes.append(tuple(x.shape))
        x = torch.zeros_like(x)
        y = torch.zeros_like(network(x))
        return Captured(x, y, lambda: y.copy_(network(x)))


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_every_batch_gets_its_own_answer():
    network = CudaGraphModule(double, Recorder())
    first, second = network(torch.ones(2, 3)), network(torch.full((2, 3), 5.0))
    assert first.tolist() == [[2.0] * 3] * 2
    assert second.tolist() == [[10.0] * 3] * 2


def test_a_shape_is_recorded_once():
    recorder = Recorder()
    network = CudaGraphModule(double, recorder)
    for size in (1, 2, 1, 2, 2):
        network(torch.ones(size, 3))
    assert recorder.shapes == [(1, 3), (2, 3)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
def test_cuda_graphs_give_what_the_network_gives():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()).cuda().eval()
    network = CudaGraphModule(module)
    with torch.inference_mode():
        for size in (4, 1, 4):
            x = torch.randn(size, 3, 8, 8, device="cuda")
            torch.testing.assert_close(network(x), module(x))
