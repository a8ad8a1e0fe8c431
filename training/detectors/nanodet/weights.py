"""Read a NanoDet-Plus from a public checkpoint, an ONNX file, safetensors or the folder of a `detector` training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from splitnet.errors import BundleError, ConfigError
from splitnet.nn.nanodet.head import BINS, SIDES
from splitnet.nn.nanodet.network import FAMILY, NanoDet
from splitnet.nn.nanodet.onnx_reader import read_onnx
from training.detectors.weights_file import check_member, fill, read_state, weights_path

_STEM = "backbone.conv1.0.weight"
_FIRST_BLOCK = "backbone.stage2.0.branch2.0.weight"
_NECK = "fpn.extra_lvl_in_conv.0.depthwise.weight"
_LAST = "head.gfl_cls.3.weight"
# What a public checkpoint holds besides: the head that is there for training only, and the bins' numbers.
_UNUSED = ("aux_fpn.", "aux_head.", "head.distribution_project.", "head.project")
_AVERAGE, _NEST = "avg_model.", "model."


def read_nanodet(path: Path, name: str) -> NanoDet:
    """Return a detector with a checkpoint's weights and number of classes, its normalisation folded or not.

    path: .ckpt or .pth of the public kind, .onnx, .safetensors, or a folder with DETECTOR_FILE. ConfigError if it
    cannot be read, is no NanoDet-Plus or another one than `name`, which is named.
    """
    path = weights_path(path)
    if path.suffix == ".onnx":
        try:
            return read_onnx(path, name)
        except BundleError as error:
            raise ConfigError(str(error)) from error
    return from_state(read_state(path), name, path)


def from_state(state: Mapping[str, Tensor], name: str, path: Path) -> NanoDet:
    """Return the detector that a state belongs to; path is for messages. ConfigError if it is not `name`."""
    state = own_weights(state)
    if _STEM in state and _NECK not in state:
        raise ConfigError(f"{path} is a NanoDet of the first generation: a NanoDet-Plus is needed")
    check_member(state, (_STEM, _FIRST_BLOCK, _NECK, _LAST), size_of, name, "a NanoDet-Plus", path)
    detector = NanoDet(name, len(state[_LAST]) - SIDES * BINS, fused=is_folded(state))
    fill(detector, dict(state), name, path)
    return detector


def own_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a detector needs of a state: of a public checkpoint the averaged weights, if it has some."""
    for nest in (_AVERAGE, _NEST):
        if any(key.startswith(nest) for key in state):
            state = {key.removeprefix(nest): value for key, value in state.items() if key.startswith(nest)}
    return {key: value for key, value in state.items() if not key.startswith(_UNUSED)}


def size_of(state: Mapping[str, Tensor]) -> str | None:
    """Return which member of the family a state has the shapes of."""
    sizes = 2 * len(state[_FIRST_BLOCK]), state[_LAST].shape[1]
    known = {(spec.backbone.channels("stage2"), spec.channels): name for name, spec in FAMILY.items()}
    return known.get(sizes)


def is_folded(state: Mapping[str, Tensor]) -> bool:
    """Say whether batch normalisation has been folded into the convolutions."""
    return not any(".running_mean" in key for key in state)
