"""Updates of a device half: its encoder, and the detector that a device runs alone.

No labels: the updated network is to say what the new one says, on images such as the cameras see. Of an encoder that is
its latent, in steps of the middle quality; of a detector its raw predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor, nn

from splitnet.bundle import load_local_detector
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import ENCODER_FILE, Manifest
from splitnet.nn.encoder.front import FrontSpec
from splitnet.updates.update_file import halves_of
from training.data.images import read_image
from training.updates.make import Loss, Progress, TrainedUpdate, UpdateSettings, make_update

FIRST_PRICE = 1.0  # of a kilobyte, in units of the loss; a budget finds its own
TABLES = ("entropy.", "changes.")
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class HalfChange:
    """From which bundle to which, and how."""

    old: Path
    new: Path
    manifest: Manifest  # of the new one
    images: Sequence[Path]
    settings: UpdateSettings


def update_encoder(change: HalfChange, budget_bytes: int, tell: Progress) -> TrainedUpdate:
    """Return an update of the old bundle's encoder, of at most so many bytes, that comes near the new one's.

    ConfigError unless it is a front; UpdateError if the budget cannot be met.
    """
    old, new, manifest = change.old, change.new, change.manifest
    if manifest.encoder.kind != FrontSpec.kind:
        raise ConfigError(f"{new} has an encoder of the kind {manifest.encoder.kind}: only a front's is updated")
    before, after = arrays_of(old / ENCODER_FILE), arrays_of(new / ENCODER_FILE)
    model, target = (manifest.encoder.make(*manifest.front) for _ in range(2))
    _load(target, halves_of(after))
    gains = torch.from_numpy(after["gains"])[-1, manifest.qualities // 2][:, None, None]

    shown = canvases(change, lambda width, height, draw: _of_width(manifest, width, height, draw))
    return _updated(model, before, after, _distance(target, gains), shown, change, budget_bytes, tell)


def update_local(change: HalfChange, budget_bytes: int, tell: Progress) -> TrainedUpdate:
    """Return an update of the detector that the old bundle's devices run alone, near the new one's.

    What belongs to other classes is sent whole. Errors as of `update_encoder`.
    """
    old, new, manifest = change.old, change.new, change.manifest
    local, model, target = manifest.local_detector, *(load_local_detector(new, manifest) for _ in range(2))
    if local is None or model is None or target is None:
        raise ConfigError(f"{new} has no detector that devices run alone")
    before, after = arrays_of(old / manifest.local_file), arrays_of(new / manifest.local_file)

    size = local.input_size
    shown = canvases(change, lambda width, height, _: Letterbox.fit(width, height, size, 32))
    return _updated(model, before, after, _distance(target), shown, change, budget_bytes, tell)


def _distance(target: nn.Module, gains: Tensor | float = 1.0) -> Loss:
    """Return a network's mean squared distance from what another one makes of a canvas, in units of gains."""

    def loss(network: nn.Module, canvas: Tensor) -> Tensor:
        with torch.no_grad():
            wanted: Tensor = target(canvas)
        distance: Tensor = (network(canvas) - wanted) * gains
        return distance.square().mean()

    return loss


def _updated(
    model: nn.Module,
    before: Arrays,
    after: Arrays,
    loss: Loss,
    shown: Iterator[Tensor],
    change: HalfChange,
    budget_bytes: int,
    tell: Progress,
) -> TrainedUpdate:
    target = {name: torch.from_numpy(one.astype(np.float32)) for name, one in halves_of(after).items()}
    return make_update(model, halves_of(before), loss, shown, FIRST_PRICE, change.settings, target, tell, budget_bytes)


def canvases(change: HalfChange, fit: Callable[[int, int, np.random.Generator], Letterbox]) -> Iterator[Tensor]:
    """Yield the images as a device sees them, (1, 3, h, w) float32, for ever and in any order.

    fit: where a frame of a width and height lies. ConfigError if none of the images can be read.
    """
    draw, readable = np.random.default_rng(change.settings.seed), list(change.images)
    while readable:
        path = readable[draw.integers(len(readable))]
        frame = read_image(path)
        if frame is None:
            readable.remove(path)
            continue
        canvas = fit(frame.shape[1], frame.shape[0], draw).apply(frame)
        yield torch.from_numpy(canvas).permute(2, 0, 1)[None].float()
    raise ConfigError("none of the images can be read: give other --images")


def _of_width(manifest: Manifest, width: int, height: int, draw: np.random.Generator) -> Letterbox:
    return manifest.fit(width, height, int(draw.integers(1, manifest.widths + 1)))


def with_weights(file: Path, weights: Mapping[str, NDArray[Any]], tables_of: Path | None = None) -> bytes:
    """Return a file of tensors with other weights. tables_of: the file whose entropy tables it is to have instead."""
    arrays = arrays_of(file)
    others = {name: one for name, one in arrays.items() if name not in halves_of(arrays)}
    if tables_of is not None:
        kept = {name: one for name, one in arrays_of(tables_of).items() if name.startswith(TABLES)}
        others = {**{name: one for name, one in others.items() if not name.startswith(TABLES)}, **kept}
    return save_arrays({**others, **weights})


def arrays_of(file: Path) -> Arrays:
    """Return the tensors of a file of a bundle, which was checked when it was loaded."""
    return dict(load_arrays(file.read_bytes()))


@torch.no_grad()
def _load(network: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    network.load_state_dict({name: torch.from_numpy(one.astype(np.float32)) for name, one in weights.items()})
    network.requires_grad_(False).eval()
