"""The machine as a training is told of it: its device, and how many GPUs."""

from __future__ import annotations

import torch

from splitnet.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")
GPUS_HELP = "GPUs of this machine to train on, a process for each; --device cpu: processes"
PRECISION_HELP = (
    "number format of the networks, not of their weights, losses or symbols; auto: bfloat16 where the machine "
    "computes in it natively"
)


def device_kind(device: str) -> str:
    """Return where to compute, "cpu" or "cuda". device: one of DEVICES."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def check_device(device: str) -> None:
    """Raise ConfigError if the machine has no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available; use --device cpu")


def check_gpus(gpus: int, batch_size: int, kind: str) -> None:
    """Raise ConfigError unless the machine has so many GPUs, and a batch can be shared out to them. kind: of device."""
    if gpus < 1:
        raise ConfigError(f"--gpus is {gpus}, must be at least 1")
    if batch_size % gpus:
        raise ConfigError(f"--batch-size {batch_size} cannot be shared out to {gpus} processes: take a multiple")
    if kind == "cuda" and gpus > torch.cuda.device_count():
        raise ConfigError(f"--gpus is {gpus}, but the machine has {torch.cuda.device_count()}")
