"""The one door to ONNX Runtime, with its telemetry switched off.

Its wheels write an identifier under the user's cache folder and look up a host of their maker as soon as they are
imported. The variable below prevents both, if it is set before (see `Privacy.md` in the package).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from splitnet.errors import BackendError

INPUT = "canvas"  # of every model of ours: (1, H, 3 * W) uint8
OPSET = 17  # of 2022: what every runtime in use can read
ERRORS_ONLY = 3  # of its log severities
TELEMETRY_SWITCH = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> Any:
    """Return the module `onnxruntime`. Raises what its import raises where it is missing or does not load."""
    os.environ[TELEMETRY_SWITCH] = "1"
    import onnxruntime

    return onnxruntime


def start_session(model: bytes, threads: int, spins: bool = True) -> Any:
    """Return a session that runs an ONNX model on the CPU.

    threads: 0 lets the runtime choose. spins: whether its threads stay busy while they wait, which is faster unless
    others need the cores. BackendError if the runtime is missing or does not take the model.
    """
    try:
        runtime = import_onnxruntime()
    except (ImportError, OSError) as error:  # OSError: a library of theirs that does not load
        raise _missing(error) from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    options.log_severity_level = ERRORS_ONLY
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes have no root in common
        message = f"ONNX Runtime {runtime.__version__} cannot load this network ({' '.join(str(error).split())})"
        raise BackendError(f"{message}: choose PyTorch, or another release of it") from error


def require_onnxruntime() -> Any:
    """Return the module `onnxruntime`. BackendError, which says what to install, if it or `onnx` does not load."""
    try:
        runtime = import_onnxruntime()  # first: where it is missing, nothing is loaded in vain
        import_module("onnx")
    except (ImportError, OSError) as error:
        raise _missing(error) from error
    return runtime


def _missing(error: Exception) -> BackendError:
    reason = " ".join(str(error).split())
    return BackendError(f"ONNX Runtime is not installed ({reason}): pip install slimsplit[onnxruntime]")
