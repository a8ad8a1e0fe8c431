"""A bundle whose device half differs from another one's by an update, and bundles that one can be trained between."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from splitnet.bundle import BundleParts, replace_files, save_bundle
from splitnet.manifest import ENCODER_FILE, FILE_NAME, Manifest, load_manifest
from splitnet.nn.decoder import Decoder
from splitnet.nn.encoder.front import FrontEncoder, FrontSpec
from splitnet.nn.split_detector import ServerHalf
from splitnet.nn.yolox.network import YOLOX
from splitnet.updates.update_file import halves_of, make_update_file
from splitnet.updates.weights.families import Change, TensorChange
from splitnet.updates.weights.weight_format import WeightUpdate
from splitnet.updates.weights.weight_update import apply_weights, pack_weights
from tests.support.tiny_bundle import CLASSES, DECODER, INPUT_SIZE, tables_of

FRONT = FrontSpec((32, 64), latent_channels=12, channels=8, blocks=1)


@dataclass(frozen=True)
class Updated:
    """A bundle, and the update that leads to it."""

    bundle: Path
    manifest: Manifest
    base: Manifest
    data: bytes


def half(bundle: Path, to: Path) -> Path:
    """Copy a bundle's device half into a new folder."""
    to.mkdir(parents=True)
    for name in (FILE_NAME, ENCODER_FILE, load_manifest(bundle).local_file):
        shutil.copyfile(bundle / name, to / name)
    return to


def write_updated(base: Path, bundle: Path) -> Updated:
    """Write a bundle whose encoder has other weights than the base's in one layer."""
    shutil.copytree(base, bundle)
    arrays = dict(load_arrays((base / ENCODER_FILE).read_bytes()))
    weights = halves_of(arrays)
    name = max(weights, key=lambda one: weights[one].size)
    change = Change(-40, (np.arange(weights[name].size, dtype=np.int16) % 3 - 1,))
    update = pack_weights(WeightUpdate({name: TensorChange({"dense": change})}, {}), weights)
    others = {key: one for key, one in arrays.items() if key not in weights}
    manifest = replace_files(bundle, {ENCODER_FILE: save_arrays({**others, **apply_weights(update, weights)})})
    old = load_manifest(base)
    places = (
        half(base, bundle.with_name(f"{bundle.name}-before")),
        half(bundle, bundle.with_name(f"{bundle.name}-after")),
    )
    data = make_update_file(manifest.name, old.digest, manifest.digest, *places, {ENCODER_FILE: update})
    return Updated(bundle, manifest, old, data)


def write_front(folder: Path, seed: int, step: float = 0.0) -> Manifest:
    """Write a bundle with a front; others of the seed differ by steps in all weights of encoder and detector."""
    torch.manual_seed(seed)
    names = tuple(f"class {i}" for i in range(CLASSES))
    manifest = Manifest("front", "yolox-nano", "dark3", INPUT_SIZE, names, 3, FRONT, DECODER, {})
    encoder, detector = FrontEncoder(FRONT, "yolox-nano", "dark3"), YOLOX("yolox-nano", CLASSES)
    decoder = Decoder(DECODER, FRONT.latent_channels, "yolox-nano", "dark3", True)
    rest = YOLOX("yolox-nano", CLASSES, "dark3")
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *detector.parameters()):
            parameter += step * torch.randn_like(parameter)
    gains = torch.tensor([0.02, 0.04, 0.08])[None, :, None].expand(2, 3, FRONT.latent_channels)
    server = ServerHalf(decoder, rest, 1 / gains, INPUT_SIZE)
    return save_bundle(folder, BundleParts(manifest, encoder, gains, tables_of(2), server, detector, None))
