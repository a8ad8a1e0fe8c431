"""Read a public detector from ONNX, its batch normalisation already folded. Needs the `train` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from splitnet.errors import BundleError
from splitnet.nn.yolox.network import YOLOX


def read_onnx(path: Path, name: str, classes: int | None = None) -> YOLOX:
    """Return the fused detector `name` with the weights of an ONNX file; classes: as many as the file has, if None.

    Exporters rename folded weights, so convolutions are matched by order of execution and checked by
    shape. BundleError if the file is not this detector.
    """
    convolutions = _convolutions(path)
    if classes is None:
        classes = _class_count(convolutions, name)
    model = YOLOX(name, classes, fused=True).eval()
    targets = _in_order_of_execution(model)
    if len(convolutions) != len(targets):
        raise BundleError(
            f"{path}: {len(convolutions)} convolutions, but {name} has {len(targets)}; is it another detector?"
        )
    with torch.no_grad():
        for target, (weight, bias) in zip(targets, convolutions, strict=True):
            assert target.bias is not None
            if weight.shape != target.weight.shape or bias.shape != target.bias.shape:
                shapes = f"{tuple(weight.shape)} instead of {tuple(target.weight.shape)}"
                raise BundleError(f"{path}: a convolution of shape {shapes}; is it another detector than {name}?")
            target.weight.copy_(weight)
            target.bias.copy_(bias)
    return model


def _convolutions(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, bias) of every convolution of the file in order of execution."""
    import onnx
    from onnx import numpy_helper

    try:
        graph: Any = onnx.load(str(path)).graph
    except Exception as error:  # the parser raises many kinds
        raise BundleError(f"{path}: not a readable ONNX file ({error})") from error
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            if len(node.input) != 3 or any(name not in arrays for name in node.input[1:]):
                raise BundleError(f"{path}: convolution {node.name} has no folded bias; export it with folding")
            weight, bias = (torch.from_numpy(numpy_helper.to_array(arrays[n]).copy()) for n in node.input[1:])
            found.append((weight, bias))
    return found


def _class_count(convolutions: list[tuple[Tensor, Tensor]], name: str) -> int:
    """Return how many classes the convolutions predict, if they are those of `name`; any number if not."""
    model = YOLOX(name, 1, fused=True).eval()
    place = _in_order_of_execution(model).index(cast(nn.Conv2d, model.head.cls_preds[0]))
    return len(convolutions[place][1]) if place < len(convolutions) else 1


@torch.inference_mode()
def _in_order_of_execution(model: YOLOX) -> list[nn.Conv2d]:
    order: list[nn.Conv2d] = []

    def note(module: nn.Module, *_: object) -> None:
        assert isinstance(module, nn.Conv2d)
        order.append(module)

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d)]
    model(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    return order
