"""A network in ONNX Runtime: on CPUs without AMX a good deal faster than the same one in PyTorch.

`tune` tries it where it is installed (it comes with the extra `server`). Batch sizes are free, the rest of the shape
is not.
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from splitnet.errors import BackendError, ConfigError
from splitnet.onnx_runtime import OPSET, require_onnxruntime, start_session


class OnnxModule:
    """Computes what a module computes, on the CPU."""

    def __init__(self, model: bytes, threads: int) -> None:
        """Take what `exported` has returned. threads: 0 lets the runtime choose.

        Raises BackendError if the runtime is missing or does not take it.
        """
        self._session: Any = start_session(model, threads, spins=False)  # others need the cores meanwhile

    def __call__(self, x: Tensor) -> Tensor:
        """Map a batch to what the module would give."""
        return torch.from_numpy(self._session.run(None, {"x": x.numpy()})[0])


def is_installed() -> bool:
    """Return whether networks can be run this way here."""
    try:
        require_onnxruntime()
    except BackendError:
        return False
    return True


def exported(network: nn.Module, example: Tensor) -> bytes:
    """Return a module as an ONNX model, for tensors like the example, of any batch size.

    The device's networks are written by `splitnet.nn.onnx_network`, which takes 16 MB and 0.3 s less and leaves the
    sides free; torch's exporter, used here, writes any network. Raises ConfigError if it cannot be exported.
    """
    require_onnxruntime()
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        names["dynamo"] = False  # the newer exporter needs a package more
    file: Any = io.BytesIO()
    try:
        with warnings.catch_warnings(), _one_thread():
            warnings.simplefilter("ignore")  # the tracer's, and that this exporter is the older one
            torch.onnx.export(network, (torch.cat((example, example)),), file, opset_version=OPSET, **names)
    except Exception as error:  # torch raises all kinds here
        raise ConfigError(f"this torch cannot write the network as ONNX ({error}): tune again without it") from error
    model: bytes = file.getvalue()
    return model


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute on one thread: several wait for one another where the machine has other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
