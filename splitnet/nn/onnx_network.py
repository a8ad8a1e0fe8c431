"""A width of the device's network in ONNX Runtime: the same convolutions in a third of PyTorch's time on a CPU.

Optional: the extra `onnxruntime`. Floats differ in their last bits, so now and then a symbol is the neighbouring one;
any decoder takes either, since what must be equal at both ends, the tables, are integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from splitnet.errors import ConfigError

if TYPE_CHECKING:
    from splitnet.nn.encoder import PlainEncoder

OPSET, IR_VERSION = 17, 8  # of 2022: what every runtime in use can read
_INPUT = "canvas"
_FIRST_AXIS = np.zeros(1, np.int64)


class OnnxNetwork:
    """Maps a BGR canvas (H, W, 3) uint8 to the latent (C, H/16, W/16) float32."""

    def __init__(self, network: PlainEncoder, threads: int) -> None:
        """Build it for a number of CPU threads. ConfigError if ONNX or its runtime is not installed."""
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        self._session = runtime.InferenceSession(onnx_model(network), options, providers=["CPUExecutionProvider"])

    def __call__(self, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the latent of a canvas whose sides are multiples of 16."""
        return cast("NDArray[np.float32]", self._session.run(None, {_INPUT: canvas})[0])


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ConfigError("ONNX Runtime is not installed: pip install slimsplit[onnxruntime]") from error
    return onnxruntime


def onnx_model(network: PlainEncoder) -> bytes:
    """Return a plain network as an ONNX model, from a canvas of any size to its latent."""
    from onnx import TensorProto, checker, helper

    from splitnet.nn.encoder import trunk

    graph = _Graph()
    image = graph.add("Cast", _Value(graph, _INPUT), to=TensorProto.FLOAT)
    image = graph.add("Unsqueeze", graph.add("Transpose", image, perm=[2, 0, 1]), graph.constant(_FIRST_AXIS))
    x = trunk(len(network.layers), image, lambda i, x: graph.convolve(x, network.layers[i]), graph.relu)
    latent = graph.add("Squeeze", graph.convolve(x, network.projection), graph.constant(_FIRST_AXIS))
    takes = helper.make_tensor_value_info(_INPUT, TensorProto.UINT8, ["height", "width", 3])
    makes = helper.make_tensor_value_info(latent.name, TensorProto.FLOAT, [network.spec.latent_channels, None, None])
    body = helper.make_graph(graph.nodes, "encoder", [takes], [makes], graph.weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model)
    return model.SerializeToString()


@dataclass(frozen=True)
class _Value:
    """A value of a graph that is being built."""

    graph: _Graph
    name: str

    def __add__(self, other: _Value, /) -> _Value:
        return self.graph.add("Add", self, other)


class _Graph:
    """Nodes and weights in order of execution."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, operator: str, *inputs: _Value, **attributes: Any) -> _Value:
        """Add a node; returns what it puts out."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [one.name for one in inputs], [name], **attributes))
        return _Value(self, name)

    def constant(self, array: NDArray[Any]) -> _Value:
        """Add a weight."""
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return _Value(self, name)

    def relu(self, x: _Value) -> _Value:
        """Add an activation."""
        return self.add("Relu", x)

    def convolve(self, x: _Value, conv: nn.Module) -> _Value:
        """Add a convolution with bias, padded alike on all sides."""
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None and isinstance(conv.padding, tuple)
        weights = (self.constant(np.ascontiguousarray(one.detach().cpu().numpy())) for one in (conv.weight, conv.bias))
        pads = [*conv.padding, *conv.padding]
        return self.add("Conv", x, *weights, strides=[*conv.stride], pads=pads, group=conv.groups)
