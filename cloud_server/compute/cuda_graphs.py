"""A network as CUDA graphs, one for each batch size: one launch instead of some hundreds.

Not measured yet: no machine with a GPU has run it. The tests replay it without one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

WARM_UPS = 3  # runs before the capture, as PyTorch's notes on CUDA graphs advise

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Captured:
    """A recorded run. Its input and output stay where they are in memory."""

    x: Tensor
    y: Tensor
    replay: Callable[[], object]


class CudaGraphModule:
    """Computes what a network computes; a shape is recorded when it comes first. For one thread."""

    def __init__(self, network: Network, capture: Callable[[Network, Tensor], Captured] | None = None) -> None:
        """Take a network on its device, and how it is recorded if not as a CUDA graph."""
        self._network = network
        self._capture = capture or CudaCapture()
        self._captured: dict[torch.Size, Captured] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Map a batch to what the network would give. The engine's largest batch bounds the number of shapes."""
        captured = self._captured.get(x.shape)
        if captured is None:
            captured = self._captured[x.shape] = self._capture(self._network, x)
        captured.x.copy_(x)
        captured.replay()
        return captured.y.clone()  # the next replay writes there again


class CudaCapture:
    """Records runs as CUDA graphs that share their memory, since only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, network: Network, x: Tensor) -> Captured:
        """Record a run for inputs of one shape."""
        x = x.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                network(x)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            y = network(x)
        return Captured(x, y, graph.replay)
