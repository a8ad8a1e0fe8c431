"""A width of the device's network in ONNX Runtime: the same convolutions in less time than PyTorch takes on a CPU.

Optional: the extra `onnxruntime`. Floats differ in their last bits, so now and then a symbol is the neighbouring one;
any decoder takes either, since what must be equal at both ends, the tables, are integers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from splitnet.errors import BackendError, ConfigError
from splitnet.onnx_runtime import import_onnxruntime

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

OPSET, IR_VERSION = 17, 8  # of 2022: what every runtime in use can read
INPUT = "canvas"  # of a model: (1, H, 3 * W) uint8
_COLOURS = 3
_FIRST_AXIS = np.zeros(1, np.int64)
_FAR = 2**31 - 1  # a slice that ends here goes to the end


class OnnxNetwork:
    """Maps a BGR canvas (H, W, 3) uint8 to the latent (C, H/16, W/16) float32."""

    def __init__(
        self,
        network: nn.Module,
        latent_channels: int,
        threads: int,
        rewrite: Callable[[bytes], bytes] = lambda model: model,
    ) -> None:
        """Build it for a number of CPU threads. rewrite: what becomes of the ONNX model before it is loaded.

        BackendError if ONNX Runtime is missing or does not work, ConfigError if it cannot run such a network.
        """
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        model = rewrite(onnx_model(network, latent_channels))
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes have no root in common
            message = f"ONNX Runtime {runtime.__version__} cannot load the encoder ({' '.join(str(error).split())})"
            raise BackendError(f"{message}: choose PyTorch, or another release of it") from error

    def __call__(self, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the latent of a canvas whose sides are multiples of 16."""
        pixels = canvas.reshape(1, len(canvas), -1)
        return cast("NDArray[np.float32]", self._session.run(None, {INPUT: pixels})[0])


def _runtime() -> Any:
    try:
        runtime = import_onnxruntime()  # first: where it is missing, nothing is loaded in vain
        import_module("onnx")
    except (ImportError, OSError) as error:  # OSError: a library of theirs that does not load
        reason = " ".join(str(error).split())
        message = f"ONNX Runtime is not installed ({reason}): pip install slimsplit[onnxruntime]"
        raise BackendError(message) from error
    return runtime


def onnx_model(network: nn.Module, latent_channels: int) -> bytes:
    """Return a network of ours, from a canvas (1, H, 3 * W) uint8 of any size to its latent, as an ONNX model.

    Its operations are traced, so that what it computes is said once, in PyTorch. ConfigError if it does what no encoder
    here did so far.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    pixels = graph.add("Cast", INPUT, to=TensorProto.FLOAT)
    latent = graph.add("Squeeze", _translate(_traced(network), pixels, graph), graph.constant(_FIRST_AXIS))
    takes = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, "height", "triple_width"])
    makes = helper.make_tensor_value_info(latent, TensorProto.FLOAT, [latent_channels, None, None])
    body = helper.make_graph(graph.nodes, "encoder", [takes], [makes], graph.weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model)
    return model.SerializeToString()


def _traced(network: nn.Module) -> GraphModule:
    from torch.fx import symbolic_trace  # here: a device without ONNX Runtime need not load it
    from torch.fx.proxy import TraceError

    try:
        return symbolic_trace(network)
    except TraceError as error:
        message = "ONNX Runtime cannot run an encoder that pads by the canvas's size: encode this bundle with PyTorch"
        raise ConfigError(message) from error


def _translate(traced: GraphModule, pixels: str, graph: _Graph) -> str:
    """Add the operations of a traced network to pixels (1, H, 3 * W); returns the name of what it puts out."""
    names: dict[Node, str] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            stem = _stem_of(node, traced)
            names |= {stem[0]: graph.stem(pixels, stem[1])} if stem else {node: graph.planes(pixels)}
        elif node in names:
            continue
        elif node.op == "output":
            return names[node.args[0]]
        elif node.op == "call_module":
            names[node] = graph.module(traced.get_submodule(node.target), names[node.args[0]])
        else:
            names[node] = graph.function(node, names)
    raise AssertionError("a traced network has an output")


def _stem_of(image: Node, traced: GraphModule) -> tuple[Node, nn.Conv2d] | None:
    """Return the one plain convolution that reads the image, if that is how the network begins."""
    users = [*image.users]
    module = traced.get_submodule(str(users[0].target)) if len(users) == 1 and users[0].op == "call_module" else None
    if isinstance(module, nn.Conv2d) and (module.groups, module.dilation) == (1, (1, 1)):
        return users[0], module
    return None


class _Graph:
    """Nodes and weights in order of execution. Values are known by their names."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns what it puts out."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [name], name, **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        """Add a weight."""
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def planes(self, pixels: str) -> str:
        """Add what makes a plane (1, 3, H, W) of each colour."""
        image = self.add("Reshape", pixels, self.constant(np.array([0, 0, -1, _COLOURS], np.int64)))
        return self.add("Transpose", image, perm=[0, 3, 1, 2])

    def stem(self, pixels: str, conv: nn.Conv2d) -> str:
        """Add a convolution of the picture on pixels as they lie in memory: colours are columns of a single plane.

        The sums are the same, and no planes need to be made of the picture first.
        """
        plane = self.add("Unsqueeze", pixels, self.constant(_FIRST_AXIS))
        return self._convolve(plane, conv, conv.weight.permute(0, 2, 3, 1).flatten(2)[:, None], columns=_COLOURS)

    def module(self, module: nn.Module, x: str) -> str:
        """Add a layer."""
        if isinstance(module, nn.Conv2d):
            return self._convolve(x, module, module.weight)
        if isinstance(module, nn.SiLU):
            return self.add("Mul", x, self.add("Sigmoid", x))
        if isinstance(module, nn.Identity):  # where normalisation was folded away
            return x
        raise ConfigError(f"ONNX Runtime cannot run {type(module).__name__}: encode this bundle with PyTorch")

    def function(self, node: Node, names: Mapping[Node, str]) -> str:
        """Add what a function of a traced network does."""
        target: Any = node.target
        arguments: tuple[Any, ...] = node.args
        if target in (F.relu, F.relu_, torch.relu_):
            return self.add("Relu", names[arguments[0]])
        if target is operator.add:
            return self.add("Add", *(names[one] for one in arguments))
        if target is torch.cat:
            return self.add("Concat", *(names[one] for one in arguments[0]), axis=node.kwargs["dim"])
        if target is operator.getitem:
            return self._slice(names[arguments[0]], arguments[1])
        if target is F.pad:
            return self._pad(names[arguments[0]], arguments[1])
        raise ConfigError(f"ONNX Runtime cannot run {target}: encode this bundle with PyTorch")

    def _slice(self, x: str, index: tuple[Any, ...]) -> str:
        """Add a choice of rows and columns: what stands in the index behind its ellipsis."""
        slices = index[1:]
        axes = range(-len(slices), 0)
        ends = [_FAR if one.stop is None else one.stop for one in slices]
        parts = ([one.start or 0 for one in slices], ends, [*axes], [one.step or 1 for one in slices])
        return self.add("Slice", x, *(self.constant(np.array(part, np.int64)) for part in parts))

    def _pad(self, x: str, sizes: tuple[int, ...]) -> str:
        """Add zeros around the last of four axes. sizes: before and after each, the last axis first."""
        of_axes = [*zip(sizes[::2], sizes[1::2], strict=True)]
        before, after = zip(*reversed(of_axes + [(0, 0)] * (4 - len(of_axes))), strict=True)
        return self.add("Pad", x, self.constant(np.array(before + after, np.int64)))

    def _convolve(self, x: str, conv: nn.Conv2d, weight: torch.Tensor, columns: int = 1) -> str:
        """Add a convolution with bias, padded alike on all sides. columns: how many of x stand for one of its."""
        assert conv.bias is not None and isinstance(conv.padding, tuple)
        weights = (self.constant(np.ascontiguousarray(one.detach().cpu().numpy())) for one in (weight, conv.bias))
        (down, right), (high, wide) = conv.stride, conv.padding
        pads = [high, wide * columns] * 2
        return self.add("Conv", x, *weights, strides=[down, right * columns], pads=pads, group=conv.groups)
