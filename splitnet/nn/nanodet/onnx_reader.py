"""Read a NanoDet-Plus from ONNX, its batch normalisation already folded. Needs the `train` extra.

Exporters rename folded weights, and order what does not depend on one another as they like. So each convolution is
found by what it is, and by the convolutions that it reads from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splitnet.errors import BundleError
from splitnet.nn.nanodet.head import BINS, SIDES
from splitnet.nn.nanodet.network import NanoDet

Key = int  # of a convolution: a digest of its sizes and of the keys of those it reads from


@dataclass(frozen=True)
class Convolution:
    """A convolution of a graph, and what it reads."""

    shape: tuple[int, ...]  # of its weight
    stride: int
    sources: tuple[str, ...]  # names of the convolutions whose results it reads, through whatever lies between


def read_onnx(path: Path, name: str, classes: int | None = None) -> NanoDet:
    """Return the fused detector `name` with the weights of an ONNX file; classes: as many as the file has, if None.

    BundleError if the file is not this detector.
    """
    convolutions, weights = _of_file(path)
    if classes is None:
        classes = _class_count(weights)
    model = NanoDet(name, classes, fused=True).eval()
    theirs, ours = _by_key(convolutions), _by_key(_of_model(model))
    if set(theirs) != set(ours):
        unknown = len(set(ours) - set(theirs))
        raise BundleError(
            f"{path}: {unknown} of the {len(ours)} convolutions of {name} are not there; is it another detector?"
        )
    with torch.no_grad():
        for key, target in ours.items():
            weight, bias = weights[theirs[key]]
            layer = model.get_submodule(target)
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return model


def _by_key(convolutions: Mapping[str, Convolution]) -> dict[Key, str]:
    """Return the names of convolutions by their keys. They must be in order of execution."""
    keys: dict[str, Key] = {}
    for name, one in convolutions.items():
        keys[name] = hash((one.shape, one.stride, tuple(sorted({keys[source] for source in one.sources}))))
    return {key: name for name, key in keys.items()}


def _class_count(weights: Mapping[str, tuple[Tensor, Tensor]]) -> int:
    """Return how many classes the last convolution of a file predicts, if it is a NanoDet-Plus; any number if not."""
    return max(1, len([*weights.values()][-1][1]) - SIDES * BINS) if weights else 1


def _of_file(path: Path) -> tuple[dict[str, Convolution], dict[str, tuple[Tensor, Tensor]]]:
    """Return the convolutions of a file and their (weight, bias), by name, in order of execution."""
    import onnx
    from onnx import numpy_helper

    try:
        graph: Any = onnx.load(str(path)).graph
    except Exception as error:  # the parser raises many kinds
        raise BundleError(f"{path}: not a readable ONNX file ({error})") from error
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    convolutions, weights = {}, {}
    sources: dict[str, tuple[str, ...]] = {}  # of every value: the convolutions that it is made of
    for node in graph.node:
        read = _merged([sources.get(value, ()) for value in node.input])
        if node.op_type == "Conv":
            if len(node.input) != 3 or any(name not in arrays for name in node.input[1:]):
                raise BundleError(f"{path}: convolution {node.name} has no folded bias; export it with folding")
            weight, bias = (torch.from_numpy(numpy_helper.to_array(arrays[n]).copy()) for n in node.input[1:])
            weights[node.output[0]] = weight, bias
            convolutions[node.output[0]] = Convolution(tuple(weight.shape), _stride(node), read)
            read = (node.output[0],)
        sources.update((value, read) for value in node.output)
    return convolutions, weights


def _stride(node: Any) -> int:
    return next((int(one.ints[0]) for one in node.attribute if one.name == "strides"), 1)


def _of_model(model: NanoDet) -> dict[str, Convolution]:
    """Return the convolutions of a detector by the names of their modules, in order of execution."""
    from torch.fx import symbolic_trace

    found: dict[str, Convolution] = {}
    sources: dict[Any, tuple[str, ...]] = {}
    for node in symbolic_trace(model).graph.nodes:
        read = _merged([sources[one] for one in node.all_input_nodes])
        if node.op == "call_module":
            layer = model.get_submodule(str(node.target))
            if isinstance(layer, nn.Conv2d):
                found[str(node.target)] = Convolution(tuple(layer.weight.shape), layer.stride[0], read)
                read = (str(node.target),)
        sources[node] = read
    return found


def _merged(groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))
