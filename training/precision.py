"""Which number format the networks are trained in: bfloat16 only where the machine computes in it natively."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

_NATIVE = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86 with tiles, ARM: names in /proc/cpuinfo
CPU_INFO = Path("/proc/cpuinfo")


def native_bfloat16(device: torch.device, cpu_info: Path = CPU_INFO) -> bool:
    """Say whether a device has bfloat16 in hardware; where it is emulated, it is slower than single precision."""
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
