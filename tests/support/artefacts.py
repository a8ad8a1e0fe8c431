"""Artefacts without content, and such that are made of a bundle's device half."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from splitnet.manifest import ENCODER_FILE, FILE_NAME, load_manifest
from splitnet.updates.artefact import BUNDLE, UPDATE, Artefact, ArtefactFile

HALF = (FILE_NAME, ENCODER_FILE)


def digest(name: str) -> str:
    """Return a digest that stands for something."""
    return hashlib.sha256(name.encode()).hexdigest()


def file_of(name: str, data: bytes) -> ArtefactFile:
    """Return how an artefact names a file that is stored as it is."""
    sha256 = hashlib.sha256(data).hexdigest()
    return ArtefactFile(name, sha256, len(data), sha256, len(data))


def whole(version: int, result: str, size: int = 1000) -> Artefact:
    """Return a whole device half of so many bytes. result: a name that stands for its digest."""
    return Artefact(BUNDLE, "tiny", version, digest(result), (sized(f"whole-{version}", size),))


def update(version: int, base: str, result: str, size: int = 10) -> Artefact:
    """Return an update of so many bytes."""
    return Artefact(UPDATE, "tiny", version, digest(result), (sized(f"update-{version}", size),), digest(base))


def sized(name: str, size: int) -> ArtefactFile:
    """Return a file of so many bytes, whatever they are."""
    return ArtefactFile(name, digest(name), size, digest(name), size)


def half_of(bundle: Path, version: int, names: Sequence[str] = HALF) -> tuple[Artefact, dict[str, Path]]:
    """Return a bundle's device half as an artefact, and where its files are."""
    contents = {name: bundle / name for name in names}
    files = tuple(file_of(name, path.read_bytes()) for name, path in contents.items())
    manifest = load_manifest(bundle)
    return Artefact(BUNDLE, manifest.name, version, manifest.digest, files), contents
