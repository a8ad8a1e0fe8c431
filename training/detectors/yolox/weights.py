"""Read a YOLOX from a public checkpoint, an ONNX file, safetensors or the folder of a `detector` training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from splitnet.errors import BundleError, ConfigError
from splitnet.nn.yolox.network import FAMILY, YOLOX
from splitnet.nn.yolox.onnx_reader import read_onnx
from training.detectors.weights_file import check_member, fill, read_state, weights_path

_STEM = "backbone.backbone.stem.conv.conv.weight"
_LAST = "head.cls_preds.2.weight"


def read_yolox(path: Path, name: str) -> YOLOX:
    """Return a detector with a checkpoint's weights and number of classes, its normalisation folded or not.

    path: .pth of the public kind, .onnx, .safetensors, or a folder with DETECTOR_FILE (a bundle, or the --run of a
    `detector` training). ConfigError if it cannot be read, is no YOLOX or another one than `name`, which is named.
    """
    path = weights_path(path)
    if path.suffix == ".onnx":
        return _from_onnx(path, name)
    return from_state(read_state(path), name, path)


def from_state(state: Mapping[str, Tensor], name: str, path: Path) -> YOLOX:
    """Return the detector that a state belongs to; path is for messages. ConfigError if it is not `name`."""
    check_member(state, (_STEM, _LAST), size_of, name, "a YOLOX", path)
    detector = YOLOX(name, len(state[_LAST]), fused=is_folded(state))
    fill(detector, dict(state), name, path)
    return detector


def size_of(state: Mapping[str, Tensor]) -> str | None:
    """Return which member of the family a state has the shapes of."""
    depthwise = "backbone.backbone.dark2.0.dconv.conv.weight" in state
    bottlenecks = {key.split(".")[5] for key in state if key.startswith("backbone.backbone.dark3.1.m.")}
    for name, spec in FAMILY.items():
        wanted = spec.channels("stem"), spec.depthwise, 3 * max(round(spec.depth * 3), 1)
        if wanted == (len(state[_STEM]), depthwise, len(bottlenecks)):
            return name
    return None


def is_folded(state: Mapping[str, Tensor]) -> bool:
    """Return whether batch normalisation has been folded into the convolutions."""
    return not any(".bn." in key for key in state)


def classes_of(detector: YOLOX) -> int:
    """Return how many classes a detector knows."""
    return len(detector.state_dict()[_LAST])


def _from_onnx(path: Path, name: str) -> YOLOX:
    try:
        return read_onnx(path, name)
    except BundleError as error:
        raise ConfigError(str(error)) from error
