"""Tensors by their content: what several bundles have bit for bit in common is held once.

Bundles of a common ancestor agree in most of their tensors, and the two parts of one bundle often do. A tensor lives as
long as a module that has it, so nothing is counted and nothing is left behind when a bundle is retired.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

Key = tuple[bytes, torch.dtype, torch.Size, tuple[int, ...], str]
MIN_BYTES = 64  # of smaller ones the entry would be larger than what it saves


class TensorStore:
    """Gives modules that hold the same values the same tensors."""

    def __init__(self) -> None:
        """Begin without any tensor."""
        self._held: WeakValueDictionary[Key, Tensor] = WeakValueDictionary()
        self._lock = threading.Lock()

    def share(self, module: nn.Module) -> None:
        """Let a module have the tensors of earlier ones wherever its own are equal to them, layout and device included.

        The module must not be trained or moved from then on: its tensors are those of others, too.
        """
        with self._lock:
            for part in module.modules():
                for tensors in (part._parameters, part._buffers):
                    for name, tensor in tensors.items():
                        if tensor is not None and tensor.nbytes >= MIN_BYTES:
                            tensors[name] = self._held.setdefault(_key(tensor), tensor)  # type: ignore[assignment]

    @property
    def held_bytes(self) -> int:
        """What all tensors take together that are in use."""
        return held_bytes(list(self._held.values()))


def held_bytes(tensors: Iterable[Tensor]) -> int:
    """Return what tensors take, those that share their memory counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def tensors_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return every parameter and buffer of some modules."""
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


def _key(tensor: Tensor) -> Key:
    values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    digest = hashlib.sha256(values).digest()  # type: ignore[arg-type]
    return digest, tensor.dtype, tensor.shape, tensor.stride(), str(tensor.device)
