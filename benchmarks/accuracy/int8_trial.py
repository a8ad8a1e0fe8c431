"""An encoder with 8-bit convolutions in ONNX Runtime: a trial, not a back end (docs/training.md says why).

Quantised after training by ONNX Runtime's own tool: int8 weights with a scale for each output channel, uint8
activations with one scale a tensor, from the least to the largest value that calibration pictures give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.onnx_network import INPUT
from splitnet.onnx_runtime import import_onnxruntime

ERRORS_ONLY = 3  # of ONNX Runtime's log severities
OPERATORS = ("Conv", "Mul", "Sigmoid", "Relu", "Add", "Concat")

Pick = Callable[[Any], list[str]]  # of an ONNX graph's nodes, by their names


def behind_the_stem(graph: Any) -> list[str]:
    """Return all that can be quantised but the first convolution, for which eight bits are slowest by far."""
    stem = next(node.name for node in graph.node if node.op_type == "Conv")
    return [node.name for node in graph.node if node.op_type in OPERATORS and node.name != stem]


def at_the_latent(graph: Any) -> list[str]:
    """Return the convolutions whose output has the latent's stride: few, large and the last."""
    strides: dict[str, int] = {}
    for node in graph.node:
        stride = max((strides.get(name, 1) for name in node.input), default=1)
        strides[node.output[0]] = stride * _stride(node)
    return [node.name for node in graph.node if node.op_type == "Conv" and strides[node.output[0]] == LATENT_STRIDE]


def _stride(node: Any) -> int:
    return next((int(one.ints[0]) for one in node.attribute if one.name == "strides"), 1)


def quantised(model: bytes, canvases: Sequence[NDArray[np.uint8]], pick: Pick) -> bytes:
    """Return an ONNX model of ours with some of its nodes quantised, calibrated on BGR canvases (H, W, 3)."""
    import onnx

    runtime = import_onnxruntime()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    runtime.set_default_logger_severity(ERRORS_ONLY)
    with TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(model)
        quantize_static(
            before,
            after,
            _pixels_of(canvases),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=[*OPERATORS],
            nodes_to_quantize=pick(onnx.load_from_string(model).graph),
        )
        return after.read_bytes()


def _pixels_of(canvases: Sequence[NDArray[np.uint8]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Pixels(CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self._canvases: Iterator[NDArray[np.uint8]] = iter(canvases)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            canvas = next(self._canvases, None)
            return None if canvas is None else {INPUT: canvas.reshape(1, len(canvas), -1)}

    return Pixels()
