"""The back ends that may run the device's networks, and the choice of one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from splitnet.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from splitnet.nn.split_detector import DeviceHalf

logger = logging.getLogger(__name__)

T = TypeVar("T")

BACKENDS = AUTO, TORCH, ONNXRUNTIME = "auto", "torch", "onnxruntime"


def start_backend(half: DeviceHalf, backend: str, threads: int) -> str:
    """Let a back end run a device's half from now on; returns which one it is: TORCH or ONNXRUNTIME, never AUTO.

    backend: one of BACKENDS. AUTO is ONNX Runtime on a CPU where it is installed and can run the encoder, and PyTorch
    everywhere else. Raises ConfigError if the one that is asked for cannot be had.
    """
    made = by_onnxruntime(lambda: half.use_onnxruntime(threads), "the encoder", half.device, backend)
    return TORCH if made is None else ONNXRUNTIME


def by_onnxruntime(make: Callable[[], T], what: str, device: str, backend: str) -> T | None:
    """Return what `make` makes of a network by ONNX Runtime, None if PyTorch is to run it.

    what: the network, for a warning where ONNX Runtime is installed but does not work. Raises ConfigError as above.
    """
    if backend == TORCH or (backend == AUTO and device != "cpu"):
        return None
    try:
        return make()
    except ConfigError as error:
        if backend != AUTO:
            raise
        if isinstance(error, BackendError) and find_spec(ONNXRUNTIME) is not None:  # installed, but to be mended
            logger.warning("PyTorch runs %s: %s", what, error)
        return None
