"""What may run the device's networks, and which of it does."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from splitnet.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from splitnet.nn.split_detector import DeviceHalf

logger = logging.getLogger(__name__)

BACKENDS = AUTO, TORCH, ONNXRUNTIME = "auto", "torch", "onnxruntime"


def start_backend(half: DeviceHalf, backend: str, threads: int) -> str:
    """Let a back end run a device's half from now on; returns which one it is: TORCH or ONNXRUNTIME, never AUTO.

    backend: one of BACKENDS. AUTO is ONNX Runtime on a CPU where it is installed and can run the encoder, and PyTorch
    everywhere else. Raises ConfigError if the one that is asked for cannot be had.
    """
    if backend == TORCH or (backend == AUTO and half.device != "cpu"):
        return TORCH
    try:
        half.use_onnxruntime(threads)
    except ConfigError as error:
        if backend != AUTO:
            raise
        if isinstance(error, BackendError) and find_spec(ONNXRUNTIME) is not None:  # installed, but to be mended
            logger.warning("PyTorch runs the encoder: %s", error)
        return TORCH
    return ONNXRUNTIME
