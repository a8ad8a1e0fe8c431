"""A trained split detector on disk: manifest.json and up to four safetensors files. Never pickle.

encoder.safetensors   the device half: encoder, gains, entropy tables; all that a device needs with the manifest
server.safetensors    the server half: inverse gains, decoder, the rest of the detector
detector.safetensors  the unsplit detector, for the `image` mode
local.safetensors     what a device runs alone, if that is another network; else it is the unsplit detector

Weights are stored in half precision and run in single.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from splitnet.atomic_write import write_atomically
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.device_package import CHANGE_TABLES, TABLES, codec_of
from splitnet.errors import BundleError, DigestMismatchError
from splitnet.manifest import (
    DETECTOR_FILE,
    ENCODER_FILE,
    LOCAL_FILE,
    SERVER_FILE,
    CompletedBundle,
    FileEntry,
    LocalDetector,
    Manifest,
    check_same_classes,
    load_manifest,
)
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import Detector
from splitnet.nn.encoder.spec import Encoder
from splitnet.nn.split_detector import DeviceHalf, ServerHalf
from splitnet.regular_file import read_regular

MAX_WEIGHTS_BYTES = 4_000_000_000
MAX_HEADER_BYTES = 4_000_000  # of a file of weights: some tens of thousands of tensors
_DTYPES = (torch.float16, torch.float32, torch.int32)  # what files hold: torch cannot compute with all there are


@dataclass(frozen=True)
class DeviceBundle:
    """What a device runs."""

    manifest: Manifest
    encoder: DeviceHalf
    codec: FeatureCodec
    folder: Path  # that it was loaded from


@dataclass(frozen=True)
class ServerBundle:
    """What a server runs. `detector` is None if the bundle has no unsplit detector."""

    manifest: Manifest
    half: ServerHalf
    codec: FeatureCodec
    detector: Detector | None


@dataclass(frozen=True)
class BundleParts:
    """What `save_bundle` stores. The manifest's `files` is ignored and made anew."""

    manifest: Manifest
    encoder: Encoder  # full width
    gains: Tensor  # (widths, qualities, channels)
    entropy_model: EntropyModel
    server: ServerHalf
    detector: Detector | None = None
    change_model: ChangeModel | None = None  # for frames coded against references


def load_device(folder: Path) -> DeviceBundle:
    """Load what a device needs; the other halves need not be there.

    BundleError if something is missing or damaged, DigestMismatchError if a file is another one.
    """
    manifest = load_manifest(folder)
    tensors = _read(folder, manifest, ENCODER_FILE)
    # Not on the "meta" device: its initialisers import a compiler, 70 MB that a device does not have.
    encoder = manifest.encoder.make(*manifest.front)
    weights = {k: v for k, v in tensors.items() if k != "gains" and not k.startswith((TABLES, CHANGE_TABLES))}
    assign(encoder, weights, ENCODER_FILE)
    gains = _gains(tensors, "gains", manifest, ENCODER_FILE)
    return DeviceBundle(manifest, DeviceHalf(encoder, gains), _codec(tensors, manifest), folder)


def load_server(folder: Path) -> ServerBundle:
    """Load what a server needs. Errors as for `load_device`."""
    manifest = load_manifest(folder)
    tables = _read(folder, manifest, ENCODER_FILE)
    tensors = _read(folder, manifest, SERVER_FILE)
    inverse_gains = _gains(tensors, "inverse_gains", manifest, SERVER_FILE)
    with torch.device("meta"):
        decoder = manifest.encoder.make_decoder(manifest.decoder, manifest.detector, manifest.split_point)
        architecture, classes = architecture_of(manifest.detector), len(manifest.class_names)
        rest = architecture.build(manifest.detector, classes, manifest.split_point)
    half = ServerHalf(decoder, rest, inverse_gains, manifest.input_size)
    assign(half, tensors, SERVER_FILE)
    return ServerBundle(manifest, half.eval(), _codec(tables, manifest), load_detector(folder, manifest))


def load_detector(folder: Path, manifest: Manifest) -> Detector | None:
    """Load the unsplit detector, or None if the bundle was made without one."""
    if not manifest.has_detector:
        return None
    tensors = _read(folder, manifest, DETECTOR_FILE)
    return _detector(manifest.detector, len(manifest.class_names), tensors, DETECTOR_FILE)


def load_local_detector(folder: Path, manifest: Manifest) -> Detector | None:
    """Load the detector that a device runs alone; None if the bundle has none, or its file is not there."""
    local, name = manifest.local_detector, manifest.local_file
    if local is None or not (folder / name).exists():
        return None
    tensors = read_weights(folder / name, local.file)
    return _detector(local.detector, len(local.class_names), tensors, name)


def add_local_detector(folder: Path, detector: Detector, local: LocalDetector) -> Manifest:
    """Give a bundle on disk a local detector, fused, in the place of any it had; returns its manifest.

    The bundle's digest stays. local: what is known of it; its `file` is made anew. BundleError if its classes are
    not the bundle's.
    """
    manifest = load_manifest(folder)
    check_same_classes(local.class_names, manifest.class_names)
    data = save_tensors(_half_precision(detector))
    write_atomically(folder / LOCAL_FILE, data)
    manifest = replace(manifest, local=replace(local, file=entry_of(data)))
    manifest.write(folder)
    return manifest


def _detector(name: str, classes: int, tensors: Mapping[str, Tensor], file: str) -> Detector:
    with torch.device("meta"):
        detector = architecture_of(name).build(name, classes)
    assign(detector, tensors, file)
    return detector.eval()


def save_bundle(folder: Path, parts: BundleParts) -> Manifest:
    """Write a bundle; returns its manifest. The manifest is written last, so a half-written one does not load."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = _stored(parts.entropy_model.to_arrays(), TABLES)
    if parts.change_model is not None:
        tables |= _stored(parts.change_model.to_arrays(), CHANGE_TABLES)
    encoder = {**_half_precision(parts.encoder), "gains": parts.gains.float().contiguous(), **tables}
    contents = {ENCODER_FILE: save_tensors(encoder), SERVER_FILE: save_tensors(_server_tensors(parts.server))}
    if parts.detector is not None:
        contents[DETECTOR_FILE] = save_tensors(_half_precision(parts.detector))
    return _write(folder, replace(parts.manifest, files={}), contents)


def save_server_half(folder: Path, manifest: Manifest, source: Path, half: ServerHalf, detector: Detector) -> Manifest:
    """Write a bundle that completes the one in `source`: its device half, another server half; returns its manifest.

    manifest: its `completes` and `files` are made anew. detector: unsplit. BundleError if the source is damaged, or
    knows other classes: its devices name what was found by theirs.
    """
    theirs = load_manifest(source)
    check_same_classes(theirs.class_names, manifest.class_names, f"bundle {theirs.name}")
    _read(source, theirs, ENCODER_FILE)  # checks it
    folder.mkdir(parents=True, exist_ok=True)
    completed = CompletedBundle(theirs.device_digest, *theirs.front)
    contents = {
        ENCODER_FILE: read_regular(source / ENCODER_FILE, MAX_WEIGHTS_BYTES),
        SERVER_FILE: save_tensors(_server_tensors(half)),
        DETECTOR_FILE: save_tensors(_half_precision(detector)),
    }
    return _write(folder, replace(manifest, files={}, completes=completed), contents)


def _server_tensors(half: ServerHalf) -> dict[str, Tensor]:
    return {**_half_precision(half), "inverse_gains": half.inverse_gains.float().contiguous()}


def replace_change_tables(folder: Path, model: ChangeModel) -> Manifest:
    """Give a bundle on disk tables for frames coded against references; returns its manifest, with a new digest.

    BundleError if its device half is another bundle's.
    """
    manifest = load_manifest(folder)
    if manifest.completes is not None:
        raise BundleError(f"{folder} has the device half of another bundle: give that one the tables")
    tensors = _read(folder, manifest, ENCODER_FILE)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(CHANGE_TABLES)}
    return _write(folder, manifest, {ENCODER_FILE: save_tensors(kept | _stored(model.to_arrays(), CHANGE_TABLES))})


def replace_files(folder: Path, contents: Mapping[str, bytes]) -> Manifest:
    """Give a bundle on disk other files of weights, by name; returns its manifest, with a new digest."""
    manifest = load_manifest(folder)
    local = contents.get(LOCAL_FILE)
    if local is not None and manifest.local is not None:
        write_atomically(folder / LOCAL_FILE, local)
        manifest = replace(manifest, local=replace(manifest.local, file=entry_of(local)))
    return _write(folder, manifest, {name: data for name, data in contents.items() if name != LOCAL_FILE})


def _write(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Manifest:
    """Write files of a bundle and, last of all, the manifest that names them; returns it."""
    entries = dict(manifest.files)
    for name, data in contents.items():
        write_atomically(folder / name, data)
        entries[name] = entry_of(data)
    written = replace(manifest, files=entries)
    written.write(folder)
    return written


def _stored(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: torch.from_numpy(array.astype(np.int32)) for name, array in arrays.items()}


def _half_precision(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().half().contiguous() for k, v in module.state_dict().items()}


def _read(folder: Path, manifest: Manifest, name: str) -> dict[str, Tensor]:
    """Read one file that the manifest lists."""
    entry = manifest.files.get(name)
    if entry is None:
        raise BundleError(f"{folder}: the manifest lists no {name}; copy the bundle again")
    return read_weights(folder / name, entry)


def entry_of(data: bytes) -> FileEntry:
    """Return how a manifest names a file."""
    return FileEntry(hashlib.sha256(data).hexdigest(), len(data))


def read_weights(path: Path, entry: FileEntry) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, after checking that it is the one that is meant.

    BundleError if it is missing, damaged or holds what no bundle does, DigestMismatchError if it is another one.
    """
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleError(f"{path} has {size} bytes instead of {entry.bytes}: half copied? copy it again")
        data = read_regular(path, min(entry.bytes, MAX_WEIGHTS_BYTES))
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; copy the bundle again") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        message = f"{path} is not the manifest's: SHA-256 {digest[:12]}, expected {entry.sha256[:12]}"
        raise DigestMismatchError(f"{message}; copy the bundle again")
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:  # where safetensors says how long its header is
        raise BundleError(f"{path} has a header of over {MAX_HEADER_BYTES} bytes, which no bundle needs")
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise BundleError(f"{path} is not a safetensors file: {' '.join(str(error).split())}") from error
    for key, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise BundleError(f"{path}: {key!r} is of type {tensor.dtype}, which bundles do not use")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BundleError(f"{path}: {key!r} holds numbers that are not finite: the training has failed")
    return tensors


def assign(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Give a module, built with or without memory, its weights in single precision. BundleError if they do not fit.

    name: of the file that they are from.
    """
    expected = module.state_dict()
    if expected.keys() != tensors.keys():
        odd = sorted(expected.keys() ^ tensors.keys())[:3]
        raise BundleError(f"{name} does not fit the manifest: {', '.join(map(repr, odd))} missing or unknown")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape or not tensor.is_floating_point():
            raise BundleError(f"{name}: {key} has shape {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}")
    module.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    module.requires_grad_(False)


def _gains(tensors: Mapping[str, Tensor], key: str, manifest: Manifest, name: str) -> Tensor:
    shape = (manifest.widths, manifest.qualities, manifest.latent_channels)
    gains = tensors.get(key)
    if gains is None or tuple(gains.shape) != shape or not bool((gains >= 0).all()):
        raise BundleError(f"{name}: {key} must be of shape {shape}, none below zero; copy the bundle again")
    return gains.float()


def _codec(tensors: Mapping[str, Tensor], manifest: Manifest) -> FeatureCodec:
    arrays = {key: tensor.numpy() for key, tensor in tensors.items() if key.startswith((TABLES, CHANGE_TABLES))}
    return codec_of(manifest, arrays, _gains(tensors, "gains", manifest, ENCODER_FILE).numpy())
