"""Several processes that train one network, as `torchrun` starts them; alone, all of this does nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from splitnet.errors import ConfigError

# The first process evaluates while the others wait for it at the next step.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is; place: its number on its machine, and so that of its GPU."""

    rank: int = 0
    count: int = 1
    place: int = 0

    @property
    def is_first(self) -> bool:
        """Return whether this one writes, evaluates and talks."""
        return self.rank == 0

    def meet(self) -> None:
        """Wait for all of them."""
        if self.count > 1:
            distributed.barrier()

    def share(self, batch_size: int) -> int:
        """Return this process's part of a batch. ConfigError if it cannot be shared out evenly."""
        if batch_size % self.count:
            raise ConfigError(f"a batch of {batch_size} cannot be shared by {self.count} processes: take a multiple")
        return batch_size // self.count

    def device(self, kind: str) -> torch.device:
        """Return where this process computes: "cpu", or its own GPU."""
        return torch.device("cuda", self.place) if kind == "cuda" else torch.device(kind)

    def agree(self, module: nn.Module) -> None:
        """Give a module the first process's parameters and buffers, in place."""
        if self.count > 1:
            tensors = [*module.parameters(), *module.buffers()]
            flat = _flat(tensors)
            distributed.broadcast(flat, 0)
            _fill(tensors, flat)

    def average(self, module: nn.Module) -> None:
        """Make a module's gradients and statistics their means over all processes, in place.

        What has a gradient in no process keeps none: so parts may be frozen, or be left out of a step, at any time,
        which DistributedDataParallel does not allow for.
        """
        if self.count > 1:
            _average_gradients([p for p in module.parameters() if p.requires_grad], self.count)
            _average([b for b in module.buffers() if b.is_floating_point()], self.count)


def _average_gradients(parameters: Sequence[Tensor], count: int) -> None:
    if not parameters:
        return
    known = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=parameters[0].device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    _average([*gradients, known], count)
    for parameter, gradient, share in zip(parameters, gradients, known.tolist(), strict=True):
        parameter.grad = gradient if share else None


@torch.no_grad()
def _average(tensors: Sequence[Tensor], count: int) -> None:
    """Replace tensors by their means over all processes, in one message."""
    if tensors:
        flat = _flat(tensors)
        distributed.all_reduce(flat)
        _fill(tensors, flat / count)


@torch.no_grad()
def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])


@torch.no_grad()
def _fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


ALONE = Processes()


def processes_of(environment: Mapping[str, str]) -> Processes:
    """Return what `torchrun` says in the environment. ConfigError if that is nothing possible."""
    try:
        rank, count, place = (
            int(environment.get(n, d)) for n, d in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
    except ValueError as error:
        raise ConfigError(f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers: {error}") from error
    if not 0 <= rank < count or place < 0:
        raise ConfigError(f"RANK is {rank} of WORLD_SIZE {count}; start several processes with torchrun")
    return Processes(rank, count, place)


@contextmanager
def joined(kind: str) -> Iterator[Processes]:
    """Meet the other processes, if there are any, and leave them at the end. kind: "cpu" or "cuda"."""
    processes = processes_of(os.environ)
    if processes.count == 1:
        yield processes
        return
    if kind == "cuda":
        torch.cuda.set_device(processes.place)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
