"""From a bundle to signed artefacts: its device half for PyTorch, the same as a package, and a self-test for each."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import zstandard

from cloud_server.delivery.keys import KeyFolder
from cloud_server.delivery.repository import Repository
from splitnet.bundle import load_device
from splitnet.device_package import load_package
from splitnet.errors import BundleError, ConfigError, UpdateError
from splitnet.manifest import ENCODER_FILE, FILE_NAME, Manifest
from splitnet.package_export import export_package
from splitnet.regular_file import read_regular
from splitnet.updates.artefact import (
    BUNDLE,
    FOR_ONNX,
    FOR_TORCH,
    MAX_FILE_BYTES,
    PLAIN,
    SELF_TEST_FILE,
    UPDATE,
    ZSTD,
    Artefact,
    ArtefactFile,
    SelfTest,
)
from splitnet.updates.self_test import record
from splitnet.updates.signed_list import newest
from splitnet.updates.update_file import FILE_NAME as UPDATE_FILE
from splitnet.updates.update_file import read_update

LEVEL = 19  # of Zstandard: packed once, sent often
WORTHWHILE = 0.98
SEED_DIGITS = 8  # of a digest: a model that is signed again has the self-test that devices hold already


def sign_bundle(
    bundle: Path,
    repository: Repository,
    keys: KeyFolder,
    now: datetime,
    note: str = "",
    with_local: bool = True,
    updates: Sequence[Path] = (),
) -> list[Artefact]:
    """Sign the device half of a bundle as the next version; returns what was signed.

    with_local: whether the detector that devices run alone goes with it. updates: files that make this device half of
    others, for devices that have those. The package is left out where it cannot be made. Raises BundleError if it is no
    bundle, or has the device half of another one; UpdateError on an update that gives something else.
    """
    repository.check_made()
    half = load_device(bundle)
    if half.manifest.completes is not None:
        raise BundleError(f"{bundle} has the device half of bundle {half.manifest.device_digest[:12]}: sign that one")
    version = newest(repository.artefacts()) + 1
    seed = int(half.manifest.digest[:SEED_DIGITS], 16)
    test, expected = record(half, seed)
    torch_files = _half_files(bundle, half.manifest, with_local)
    made = [(FOR_TORCH, torch_files, test, expected), *_package(bundle, seed)]
    artefacts = [
        _update(path, repository, half.manifest, version, torch_files, test, expected, note) for path in updates
    ]
    for form, files, own_test, own_expected in made:
        kept = tuple(keep(repository, name, data) for name, data in {**files, SELF_TEST_FILE: own_expected}.items())
        manifest = half.manifest
        artefacts.append(
            Artefact(BUNDLE, manifest.name, version, manifest.digest, kept, form=form, self_test=own_test, note=note)
        )
    repository.add(artefacts, keys, now)
    return artefacts


def _update(
    path: Path,
    repository: Repository,
    manifest: Manifest,
    version: int,
    half: Mapping[str, bytes],
    test: SelfTest,
    expected: bytes,
    note: str,
) -> Artefact:
    """Return the artefact of an update to a device half. UpdateError if it gives another, or nobody has its base."""
    data = _content(path)
    update = read_update(data)
    wanted = {name: hashlib.sha256(content).hexdigest() for name, content in half.items()}
    if update.result != manifest.digest or {file.name: file.sha256 for file in update.files} != wanted:
        raise UpdateError(
            f"{path} makes bundle {update.result[:12]}, or other files of it: sign the one it was made for"
        )
    if update.base not in {one.result for one in repository.artefacts()}:
        raise UpdateError(
            f"{path} is for bundle {update.base[:12]}, which was never signed: no device has it from here"
        )
    kept = tuple(keep(repository, *file) for file in ((UPDATE_FILE, data), (SELF_TEST_FILE, expected)))
    return Artefact(UPDATE, manifest.name, version, manifest.digest, kept, update.base, FOR_TORCH, test, note)


def keep(repository: Repository, name: str, data: bytes) -> ArtefactFile:
    """Keep a file of an artefact, packed where that makes it smaller; returns its description."""
    packed = zstandard.ZstdCompressor(level=LEVEL).compress(data)
    packing, stored = (ZSTD, packed) if len(packed) < WORTHWHILE * len(data) else (PLAIN, data)
    return ArtefactFile(
        name, hashlib.sha256(data).hexdigest(), len(data), repository.keep(stored), len(stored), packing
    )


def _half_files(bundle: Path, manifest: Manifest, with_local: bool) -> Mapping[str, bytes]:
    names = [FILE_NAME, ENCODER_FILE]
    if with_local and manifest.local_detector is not None and (bundle / manifest.local_file).is_file():
        names.append(manifest.local_file)
    return {name: _content(bundle / name) for name in names}


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror})") from error


def _package(bundle: Path, seed: int) -> list[tuple[str, Mapping[str, bytes], SelfTest, bytes]]:
    """Return the package of a bundle, with its self-test; nothing where ONNX Runtime cannot run it, or is missing."""
    with tempfile.TemporaryDirectory(prefix="slimsplit-package-") as folder:
        out = Path(folder)
        try:
            export_package(bundle, out)
            test, expected = record(load_package(out, 1), seed)
        except (ConfigError, ModuleNotFoundError):
            return []
        return [(FOR_ONNX, {path.name: path.read_bytes() for path in sorted(out.iterdir())}, test, expected)]
