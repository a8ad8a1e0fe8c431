"""Read a YOLOX from a public checkpoint, an ONNX file, safetensors or the folder of a `detector` training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from splitnet.errors import BundleError, ConfigError
from splitnet.nn.onnx_reader import read_onnx
from splitnet.nn.yolox import FAMILY, YOLOX
from training.detector_file import DETECTOR_FILE

_STEM = "backbone.backbone.stem.conv.conv.weight"
_LAST = "head.cls_preds.2.weight"


def read_yolox(path: Path, name: str) -> YOLOX:
    """Return a detector with a checkpoint's weights and number of classes, its normalisation folded or not.

    path: .pth of the public kind, .onnx, .safetensors, or a folder with DETECTOR_FILE (a bundle, or the --run of a
    `detector` training). ConfigError if it cannot be read, is no YOLOX or another one than `name`, which is named.
    """
    if path.is_dir():
        path = path / DETECTOR_FILE
    if path.suffix == ".onnx":
        return _from_onnx(path, name)
    if not path.is_file():
        raise ConfigError(f"{path} is not a file: give a checkpoint, a bundle or the --run of a `detector` training")
    return from_state(_read_state(path), name, path)


def from_state(state: Mapping[str, Tensor], name: str, path: Path) -> YOLOX:
    """Return the detector that a state belongs to; path is for messages. ConfigError if it is not `name`."""
    if _STEM not in state or _LAST not in state:
        raise ConfigError(f"{path} holds no YOLOX: it has no {_STEM if _STEM not in state else _LAST}")
    found = size_of(state)
    if found != name:
        what = f"a {found}: name that one" if found else "a YOLOX of a size that is not known here"
        raise ConfigError(f"{path} is not a {name} but {what}")
    detector = YOLOX(name, len(state[_LAST]), fused=is_folded(state))
    try:
        detector.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(f"{path} is not a whole {name}: {reason}") from error
    if not all(bool(torch.isfinite(value).all()) for value in detector.state_dict().values()):
        raise ConfigError(f"{path} has weights that are not finite: its training has gone wrong")
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
    """Say whether batch normalisation has been folded into the convolutions."""
    return not any(".bn." in key for key in state)


def classes_of(detector: YOLOX) -> int:
    """Return how many classes a detector knows."""
    return len(detector.state_dict()[_LAST])


def _from_onnx(path: Path, name: str) -> YOLOX:
    try:
        return read_onnx(path, name)
    except BundleError as error:
        raise ConfigError(str(error)) from error


def _read_state(path: Path) -> dict[str, Tensor]:
    """Return a state by the public names of its parameters."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dict
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # the unpickler raises many kinds
        raise ConfigError(f"{path} is damaged, or holds more than weights: save its weights alone") from error
    while isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no weights by name")
    return {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
