"""Makes the package of a bundle for devices without PyTorch (`device_package`)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from splitnet.atomic_write import write_atomically, write_json
from splitnet.bundle import DeviceBundle, load_device
from splitnet.device_package import CHANGE_TABLES, TABLES, TABLES_FILE, PackageManifest
from splitnet.errors import ConfigError
from splitnet.manifest import ENCODER_FILE
from splitnet.package_folder import DEVICE_FILE

ONE_MODEL = "encoder.onnx"


def export_package(bundle_folder: Path, out: Path) -> PackageManifest:
    """Write the package of a bundle; its description comes last, so that half of one does not load.

    Raises BundleError for a bundle that is none, ConfigError for one whose encoder ONNX Runtime cannot run.
    """
    bundle = load_device(bundle_folder)
    models = bundle.encoder.onnx_models()
    shared = len(set(models)) == 1
    names = [ONE_MODEL if shared else f"encoder-{width}.onnx" for width in range(1, len(models) + 1)]
    stored = load_arrays((bundle_folder / ENCODER_FILE).read_bytes())
    kept = {key: array for key, array in stored.items() if key == "gains" or key.startswith((TABLES, CHANGE_TABLES))}
    kept["gains"] = kept["gains"].astype(np.float32)
    contents = {**dict(zip(names, models, strict=True)), TABLES_FILE: save_arrays(kept)}
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file: give a folder")
    out.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        write_atomically(out / name, data)
    manifest = _described(bundle, names, {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    write_json(out / DEVICE_FILE, manifest.to_json())
    return manifest


def _described(bundle: DeviceBundle, models: list[str], files: dict[str, str]) -> PackageManifest:
    manifest = bundle.manifest
    per_pixel = []
    for width, side in enumerate(manifest.sides, 1):
        canvas = side, side
        per_pixel.append(bundle.encoder.mmacs(width, *canvas) / side**2)
    return PackageManifest(
        name=manifest.name,
        digest=manifest.digest,
        device_digest=manifest.device_digest,
        class_names=manifest.class_names,
        input_size=manifest.input_size,
        sides=manifest.sides,
        stretches=manifest.encoder.stretches,
        qualities=manifest.qualities,
        latent_channels=manifest.latent_channels,
        mmacs_per_pixel=tuple(per_pixel),
        points=manifest.points,
        stream_points=manifest.stream_points,
        models=tuple(models),
        files=files,
    )
