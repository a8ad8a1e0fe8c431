"""The cost of a training, from the shapes alone: nothing is computed, so a large detector takes no memory here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splitnet.nn.architectures import architecture_of
from splitnet.nn.macs import count_macs, parameter_count

# Bytes for each parameter: weight, gradient, two moments of AdamW and the moving average, in single precision.
BYTES_PER_PARAMETER = 5 * 4


@dataclass(frozen=True)
class Cost:
    """Of one image of a batch, and of the network once."""

    gflops: float  # billions of operations, forward and backward
    activation_gb: float  # kept for the backward pass in single precision; about half in bfloat16
    network_gb: float

    def memory_gb(self, batch_size: int) -> float:
        """Return what a training needs at least, in gigabytes."""
        return self.network_gb + batch_size * self.activation_gb


def detector_cost(model: str, square: int, classes: int = 80) -> Cost:
    """Return the cost of training a detector on squares of that side in pixels."""
    with torch.device("meta"):
        network = architecture_of(model).build(model, classes, fused=False)
        image = torch.zeros(1, 3, square, square)
    forward = 2 * count_macs(network.eval(), lambda: network(image))
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        keeps.append(storage)  # as long as it is alive, its address is its own
        return tensor

    keeps: list[torch.UntypedStorage] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        raw = network.train()(image)
    assert raw.requires_grad
    parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    activations = sum(size for storage, size in kept.items() if storage not in parameters)
    network_bytes = BYTES_PER_PARAMETER * parameter_count(network)
    # The backward pass goes twice through every product: for the weights and for the inputs.
    return Cost(3 * forward / 1e9, activations / 1e9, network_bytes / 1e9)
