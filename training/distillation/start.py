"""A distillation that begins with what another one has learnt: a bundle's, or a run's for a detector of other classes.

Encoder, quantiser and decoder know features, which hardly change when a detector is fine-tuned. So they are taken. The
rest of the detector is the teacher's own wherever that knows other classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.manifest import ENCODER_FILE, SERVER_FILE, load_manifest
from splitnet.manifest import FILE_NAME as MANIFEST
from splitnet.nn.encoder.front import FrontSpec
from training.cuts.components import canvases, spread
from training.distillation.front_start import IMAGES, set_densities
from training.distillation.student import Student, StudentSpec
from training.loop.run import CHECKPOINT, read_checkpoint

MIN_GAIN = 1e-6  # a bundle may have channels that say nothing; training knows logarithms only
CANVASES = ("sides", "stretches")  # what a front's spec says of canvases; the rest is of its weights
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learnt:
    """What an earlier training leaves to a new one."""

    path: Path  # of its bundle or run
    weights: Mapping[str, Tensor]  # of a `Student`, by its names; without the tail if that knows other classes
    has_densities: bool  # of symbols; a bundle has tables in their stead

    @torch.no_grad()
    def give(self, student: Student, images: Sequence[Path], input_size: int) -> None:
        """Begin a student with it. ConfigError if densities are to be found and no image can be read."""
        student.load_state_dict({**student.state_dict(), **self.weights})
        if not self.has_densities:
            set_densities(student.quantiser, _latents(student, images, input_size))
        is_whole = any(name.startswith("tail.") for name in self.weights)
        rest = " and the rest of the detector" if is_whole else "; the rest of the detector is the teacher's"
        log.info("taken from %s: encoder, quantiser, decoder%s", self.path, rest)


def _latents(student: Student, images: Sequence[Path], input_size: int) -> Tensor:
    """Return the latent (L, n) of some images."""
    encoder = student.front
    chosen = spread(images, IMAGES // 2)
    fitted = canvases(chosen, input_size, LATENT_STRIDE, "density of symbols")
    return torch.cat([encoder(image)[0].flatten(1) for image in fitted], dim=1)


def learnt_from(path: Path, spec: StudentSpec, class_names: Sequence[str]) -> Learnt | None:
    """Return what a bundle's folder or a run's has learnt; None for a run that trained the same, to be gone on with.

    ConfigError if the path is neither, or what it has does not fit the spec; BundleError if a bundle is damaged.
    """
    if (path / CHECKPOINT).is_file():
        return _from_run(path, spec, class_names)
    if (path / MANIFEST).is_file():
        return _from_bundle(path, spec, class_names)
    raise ConfigError(f"{path} has no {CHECKPOINT} and is no bundle to start from")


def _from_run(path: Path, spec: StudentSpec, class_names: Sequence[str]) -> Learnt | None:
    state = read_checkpoint(path / CHECKPOINT)
    if not isinstance(state.get("spec"), dict):
        raise ConfigError(f"{path} is not the run of a `distill`: --start-from takes such a one, or a bundle")
    names = state.get("class_names")  # checkpoints did not always have them
    is_same = state["spec"]["classes"] == spec.classes and names in (None, list(class_names))
    if is_same and state["spec"] == spec.to_json():
        return None
    _check_fits(path, state["spec"], spec)
    if state["spec"]["qualities"] != spec.qualities:
        raise ConfigError(f"{path} has {state['spec']['qualities']} trained qualities, not {spec.qualities}")
    weights = {k: v for k, v in state["average"].items() if is_same or not k.startswith("tail.")}
    return Learnt(path, weights, has_densities=True)


def _from_bundle(path: Path, spec: StudentSpec, class_names: Sequence[str]) -> Learnt:
    manifest = load_manifest(path)
    _check_fits(path, manifest.to_json(), spec)
    if manifest.encoder.kind != FrontSpec.kind:
        raise ConfigError(f"{path}: of bundles only a front can be trained further; give the --run of its training")
    is_same = tuple(class_names) == manifest.class_names
    parts = {"decoder": "decoder", "detector": "tail"} if is_same else {"decoder": "decoder"}
    weights = device_weights(path, spec.qualities)
    for name, value in load_file(path / SERVER_FILE).items():
        part, _, rest = name.partition(".")
        if part in parts:
            weights[f"{parts[part]}.{rest}"] = value.float()
    return Learnt(path, weights, has_densities=False)


def device_weights(path: Path, qualities: int) -> dict[str, Tensor]:
    """Return encoder and quantiser of a front's bundle, by the names of a `Student` of so many trained qualities.

    BundleError if the bundle is damaged, ConfigError if its qualities do not follow from so many.
    """
    load_device(path), load_server(path)  # they check what is read now by name
    device, server = load_file(path / ENCODER_FILE), load_file(path / SERVER_FILE)
    weights = {f"encoder.{name}": device[name] for name in device if name.startswith(("stages.", "analysis."))}
    weights["quantiser.log_gain"] = trained_gains(device["gains"], qualities).log()
    weights["quantiser.log_inverse"] = trained_gains(server["inverse_gains"], qualities).log()
    return {name: value.float() for name, value in weights.items()}


def trained_gains(gains: Tensor, qualities: int) -> Tensor:
    """Return those (1, qualities, L) of a front's gains (widths, finer qualities, L) that were trained.

    The inverse of `export.refined`. ConfigError if so many were not evenly among them.
    """
    finer = gains.shape[1]
    if finer != qualities and (qualities < 2 or (finer - 1) % (qualities - 1)):
        raise ConfigError(f"{qualities} trained qualities do not lie evenly among a bundle's {finer}")
    return gains[:1, :: max(1, (finer - 1) // max(1, qualities - 1))].clamp(min=MIN_GAIN)


def _check_fits(path: Path, theirs: Mapping[str, Any], spec: StudentSpec) -> None:
    """Raise ConfigError unless everything but classes and a front's canvases is as the spec says."""
    ours = spec.to_json()
    for name in ("detector", "split_point"):
        if theirs[name] != ours[name]:
            raise ConfigError(f"{path} has the {name.replace('_', ' ')} {theirs[name]}, not {ours[name]}")
    kinds = [each["encoder"].get("kind", "ensemble") for each in (theirs, ours)]
    if kinds[0] != kinds[1]:
        raise ConfigError(f"{path} has an encoder of the kind {kinds[0]}, not {kinds[1]}")
    for part in ("encoder", "decoder"):
        sizes = [{k: v for k, v in each[part].items() if k not in CANVASES} for each in (theirs, ours)]
        if sizes[0] != sizes[1]:
            raise ConfigError(f"{path} has {_an(part)} of other sizes, {sizes[0]}, not {sizes[1]}")


def _an(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
