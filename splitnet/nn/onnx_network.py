"""A network of the device in ONNX Runtime: the same convolutions in less time than PyTorch takes on a CPU.

Optional: the extra `onnxruntime`. Floats differ in their last bits, so now and then a symbol of an encoder is the
neighbouring one. Any decoder takes either: what must be equal at both ends, the tables, are integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.normalise import Normalise
from splitnet.nn.onnx_graph import FIRST_AXIS, OnnxGraph
from splitnet.onnx_runtime import INPUT, OPSET, require_onnxruntime, start_session

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

M = TypeVar("M", bound=nn.Module)
IR_VERSION = 8  # of 2022, as the operators are


class OnnxNetwork:
    """Maps a BGR canvas (H, W, 3) uint8 to an encoder's latent (C, H/16, W/16) or a detector's raw predictions (A, K).

    Both are float32.
    """

    def __init__(
        self,
        network: nn.Module,
        latent_channels: int | None,
        threads: int,
        rewrite: Callable[[bytes], bytes] = lambda model: model,
    ) -> None:
        """Build it for a number of CPU threads.

        latent_channels: None for a whole detector. rewrite: what becomes of the ONNX model before it is loaded.
        BackendError if ONNX Runtime is missing or does not work, ConfigError if it cannot run such a network.
        """
        require_onnxruntime()
        self._session = start_session(rewrite(onnx_model(network, latent_channels)), threads)

    def __call__(self, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the network makes of a canvas whose sides are the multiples that it needs."""
        pixels = canvas.reshape(1, len(canvas), -1)
        return cast("NDArray[np.float32]", self._session.run(None, {INPUT: pixels})[0])


def onnx_model(network: nn.Module, latent_channels: int | None) -> bytes:
    """Return a network of ours as an ONNX model from a canvas (1, H, 3 * W) uint8 of any size to what it puts out.

    latent_channels: None for a whole detector. Its operations are traced, so that what it computes is said once, in
    PyTorch. ConfigError if it does what no network here did so far.
    """
    from onnx import TensorProto, checker, helper

    graph = OnnxGraph()
    pixels = graph.add("Cast", INPUT, to=TensorProto.FLOAT)
    output = graph.add("Squeeze", _translate(_traced(network), pixels, graph), graph.constant(FIRST_AXIS))
    shape = [None, None] if latent_channels is None else [latent_channels, None, None]
    takes = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, "height", "triple_width"])
    makes = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    body = helper.make_graph(graph.nodes, "network", [takes], [makes], graph.weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model)
    return model.SerializeToString()


def _traced(network: nn.Module) -> GraphModule:
    from torch.fx import GraphModule, Tracer  # here: a device without ONNX Runtime need not load it
    from torch.fx.proxy import TraceError

    class Steps(Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, Normalise) or super().is_leaf_module(m, module_qualified_name)

    try:
        return GraphModule(network, Steps().trace(network))
    except TraceError as error:
        message = "ONNX Runtime cannot run a network that pads by the canvas's size: run this bundle with PyTorch"
        raise ConfigError(message) from error


def _translate(traced: GraphModule, pixels: str, graph: OnnxGraph) -> str:
    """Add the operations of a traced network to pixels (1, H, 3 * W); returns the name of what it puts out."""
    names: dict[Node, str] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            names |= _beginning(node, traced, pixels, graph)
        elif node in names:
            continue
        elif node.op == "output":
            return names[node.args[0]]
        elif node.op == "call_module":
            names[node] = graph.module(traced.get_submodule(node.target), names[node.args[0]])
        elif node.op == "get_attr":
            names[node] = graph.constant(_attribute(traced, node.target).numpy())
        else:
            names[node] = graph.function(node, names)
    raise AssertionError("a traced network has an output")


def _beginning(image: Node, traced: GraphModule, pixels: str, graph: OnnxGraph) -> dict[Node, str]:
    """Add what reads the image, if that is normalisation or one plain convolution; returns the names of the results."""
    norm, stem = _only_user(image, traced, Normalise), _only_user(image, traced, nn.Conv2d)
    if norm is not None:  # on planes: three columns a pixel would be three times as slow
        return {image: pixels, norm[0]: graph.normalised(graph.planes(pixels), norm[1])}
    if stem is not None and (stem[1].groups, stem[1].dilation) == (1, (1, 1)):
        return {stem[0]: graph.stem(pixels, stem[1])}
    return {image: graph.planes(pixels)}


def _only_user(node: Node, traced: GraphModule, kind: type[M]) -> tuple[Node, M] | None:
    """Return the layer that alone reads a value, if it is one of a kind."""
    users = [*node.users]
    module = traced.get_submodule(str(users[0].target)) if len(users) == 1 and users[0].op == "call_module" else None
    return (users[0], module) if isinstance(module, kind) else None


def _attribute(traced: GraphModule, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    return cast(Tensor, getattr(traced.get_submodule(owner), name))
