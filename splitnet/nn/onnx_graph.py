"""An ONNX graph, put together from the layers and functions of a traced network in PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from splitnet.errors import ConfigError
from splitnet.nn.normalise import Normalise

if TYPE_CHECKING:
    from torch.fx import Node

FIRST_AXIS = np.zeros(1, np.int64)
_COLOURS = 3
_FAR = 2**31 - 1  # a slice that ends here goes to the end
_ARITHMETIC: Mapping[Any, str] = {
    operator.add: "Add",
    operator.sub: "Sub",
    operator.mul: "Mul",
    operator.truediv: "Div",
    F.relu: "Relu",
    F.relu_: "Relu",
    torch.relu_: "Relu",
}
_SAMPLING: Mapping[str, Mapping[str, str]] = {  # of `interpolate`, in the words of ONNX
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
}


class OnnxGraph:
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

    def normalised(self, planes: str, norm: Normalise) -> str:
        """Add what brings planes (1, 3, H, W) to a mean and a deviation."""
        mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (norm.mean, norm.deviation))
        return self.add("Div", self.add("Sub", planes, self.constant(mean)), self.constant(deviation))

    def stem(self, pixels: str, conv: nn.Conv2d) -> str:
        """Add a convolution of the picture on pixels as they lie in memory: colours are columns of a single plane.

        The sums are the same, and no planes need to be made of the picture first.
        """
        plane = self.add("Unsqueeze", pixels, self.constant(FIRST_AXIS))
        return self._convolve(plane, conv, conv.weight.permute(0, 2, 3, 1).flatten(2)[:, None], columns=_COLOURS)

    def module(self, module: nn.Module, x: str) -> str:
        """Add a layer. ConfigError if it is of a kind that no network here had so far."""
        if isinstance(module, nn.Conv2d):
            return self._convolve(x, module, module.weight)
        if isinstance(module, nn.SiLU):
            return self.add("Mul", x, self.add("Sigmoid", x))
        if isinstance(module, nn.LeakyReLU):
            return self.add("LeakyRelu", x, alpha=module.negative_slope)
        if isinstance(module, nn.MaxPool2d):
            sides, strides, padding = ([*_pair(one)] for one in (module.kernel_size, module.stride, module.padding))
            return self.add("MaxPool", x, kernel_shape=sides, strides=strides, pads=padding * 2)
        if isinstance(module, nn.Identity):  # where normalisation was folded away
            return x
        raise _unknown(type(module).__name__)

    def function(self, node: Node, names: Mapping[Node, str]) -> str:
        """Add what a function, or a method of a tensor, of a traced network does. ConfigError as above."""
        target: Any = node.target
        arguments: tuple[Any, ...] = node.args
        if target in _ARITHMETIC:
            return self.add(_ARITHMETIC[target], *(names[one] for one in arguments))
        if target is torch.cat:
            return self.add("Concat", *(names[one] for one in arguments[0]), axis=node.kwargs["dim"])
        if target is torch.stack:
            axis: Any = node.kwargs["dim"]
            parts = [self.add("Unsqueeze", names[one], self.constant(np.array([axis]))) for one in arguments[0]]
            return self.add("Concat", *parts, axis=axis)
        if target is operator.getitem:
            return self._slice(names[arguments[0]], arguments[1])
        if target is F.pad:
            return self._pad(names[arguments[0]], arguments[1])
        if target is F.interpolate:
            return self._resize(names[arguments[0]], node.kwargs)
        if target in ("flatten", torch.flatten):
            return self._flatten(names[arguments[0]], *arguments[1:])
        if target == "transpose" and arguments[1:] == (1, 2):
            return self.add("Transpose", names[arguments[0]], perm=[0, 2, 1])  # of three axes, in a head
        raise _unknown(target)

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

    def _resize(self, x: str, keywords: Mapping[str, Any]) -> str:
        """Add a change of size by a factor, as `interpolate` samples it."""
        factor, mode = keywords["scale_factor"], keywords["mode"]
        if mode not in _SAMPLING or factor is None or keywords.get("align_corners"):
            raise _unknown(f"interpolate in mode {mode}")
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        return self.add("Resize", x, "", scales, **_SAMPLING[mode])

    def _flatten(self, x: str, first: int, last: int = -1) -> str:
        """Add what makes one axis of neighbouring ones."""
        shape = self.add("Shape", x)
        parts = [self._part(shape, 0, first), self.constant(np.array([-1]))]
        parts += [] if last == -1 else [self._part(shape, last + 1, _FAR)]
        return self.add("Reshape", x, self.add("Concat", *parts, axis=0))

    def _part(self, shape: str, begin: int, end: int) -> str:
        return self.add("Slice", shape, self.constant(np.array([begin])), self.constant(np.array([end])))

    def _convolve(self, x: str, conv: nn.Conv2d, weight: torch.Tensor, columns: int = 1) -> str:
        """Add a convolution with bias, padded alike on all sides. columns: how many of x stand for one of its."""
        assert conv.bias is not None and isinstance(conv.padding, tuple)
        weights = (self.constant(np.ascontiguousarray(one.detach().cpu().numpy())) for one in (weight, conv.bias))
        (down, right), (high, wide) = conv.stride, conv.padding
        pads = [high, wide * columns] * 2
        return self.add("Conv", x, *weights, strides=[down, right * columns], pads=pads, group=conv.groups)


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else value


def _unknown(what: object) -> ConfigError:
    return ConfigError(f"ONNX Runtime cannot run {what}: run this bundle with PyTorch")
