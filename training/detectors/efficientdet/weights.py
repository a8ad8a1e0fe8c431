"""Read an EfficientDet from a public checkpoint, safetensors or the folder of a `detector` training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.nn.efficientdet.network import ANCHORS_PER_CELL, FAMILY, EfficientDet
from training.detectors.weights_file import check_member, fill, read_state, weights_path

_STEM = "backbone.conv_stem.weight"
_LAST = "class_net.predict.conv_pw.weight"
# The public checkpoints number classes as COCO does, from 1 to 90, where these name nothing.
PUBLIC_CLASSES = 90
UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


def read_efficientdet(path: Path, name: str) -> EfficientDet:
    """Return a detector with a checkpoint's weights and classes, its normalisation folded or not.

    path: .pth of the public kind, .safetensors, or a folder with DETECTOR_FILE. Of a public checkpoint's 90 classes
    the 80 that COCO uses are kept, in the order of their ids. ConfigError if it cannot be read, is no EfficientDet or
    another one than `name`, which is named.
    """
    path = weights_path(path)
    if path.suffix == ".onnx":
        raise ConfigError(f"{path}: an EfficientDet is read from .pth or .safetensors, not from .onnx")
    return from_state(read_state(path), name, path)


def from_state(state: Mapping[str, Tensor], name: str, path: Path) -> EfficientDet:
    """Return the detector that a state belongs to; path is for messages. ConfigError if it is not `name`."""
    check_member(state, (_STEM, _LAST), size_of, name, "an EfficientDet", path)
    fused = is_folded(state)
    if not fused and "class_net.conv_rep.0.conv_pw.bias" not in state:
        raise ConfigError(f"{path} pads another way: take tf_{name.replace('-', '_')}, not {name.replace('-', '_')}")
    entries = dict(state) if fused else used_classes(state)
    detector = EfficientDet(name, len(entries[_LAST]) // ANCHORS_PER_CELL, fused=fused)
    fill(detector, entries, name, path)
    return detector


def size_of(state: Mapping[str, Tensor]) -> str | None:
    """Return which member of the family a state has the shapes of."""
    cells = {key.split(".")[2] for key in state if key.startswith("fpn.cell.")}
    for name, spec in FAMILY.items():
        if (spec.channels, spec.cells) == (state[_LAST].shape[1], len(cells)):
            return name
    return None


def is_folded(state: Mapping[str, Tensor]) -> bool:
    """Return whether batch normalisation has been folded into the convolutions."""
    return not any(".running_mean" in key for key in state)


def used_classes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without the outputs of COCO's unused numbers, if it has an output for each number."""
    if len(state[_LAST]) != PUBLIC_CLASSES * ANCHORS_PER_CELL:
        return dict(state)
    kept = [i for i in range(PUBLIC_CLASSES) if i + 1 not in UNUSED]
    return {**state, **with_outputs(state, kept)}


def with_outputs(state: Mapping[str, Tensor], kept: list[int]) -> dict[str, Tensor]:
    """Return the last layer's weight and bias with only these classes, in this order."""
    names = (_LAST, _LAST.replace("weight", "bias"))
    return {n: state[n].unflatten(0, (ANCHORS_PER_CELL, -1))[:, kept].flatten(0, 1).contiguous() for n in names}
