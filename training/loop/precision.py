"""Number formats of training: bfloat16 where the machine computes in it natively, or where asked.

Weights, their average and the optimisers are always in single precision; so are losses, rate and what is rounded to
symbols. bfloat16 has the range of single precision: no loss need be scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

PRECISIONS = ("auto", "single", "bfloat16")
_NATIVE = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86 with tiles, ARM: names in /proc/cpuinfo
CPU_INFO = Path("/proc/cpuinfo")


def native_bfloat16(device: torch.device, cpu_info: Path = CPU_INFO) -> bool:
    """Return whether a device has bfloat16 in hardware; where it is emulated, it is slower than single precision."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        words = cpu_info.read_text().split()
    except OSError:  # not Linux
        return False
    return not _NATIVE.isdisjoint(words)


def mixed_precision(device: torch.device, is_used: bool) -> AbstractContextManager[object]:
    """Return a context in which networks run in bfloat16 where that is safe, or in single precision throughout."""
    return torch.autocast(device.type, torch.bfloat16) if is_used else nullcontext()


def is_mixed(precision: str, device: torch.device) -> bool:
    """Return whether networks are trained in bfloat16. precision: one of PRECISIONS; "auto" goes by the hardware."""
    return precision == "bfloat16" or (precision == "auto" and native_bfloat16(device))


def single_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context inside `mixed_precision` for what eight bits are too few for."""
    return torch.autocast(device.type, enabled=False)


def in_single(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return outputs in single precision, for losses."""
    return {name: value.float() for name, value in outputs.items()}
