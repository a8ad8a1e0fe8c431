"""From a device half and an artefact to a new device half: one function for each kind.

`apply` checks what an artefact is for before, and what came out of it after. An applier writes files into an empty
folder and need not care for power cuts: nobody looks at the folder before it is whole and on disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from splitnet.errors import BundleError, UpdateError
from splitnet.package_folder import DEVICE_FILE, is_package
from splitnet.regular_file import read_regular
from splitnet.updates.artefact import (
    BUNDLE,
    FOR_ONNX,
    FOR_TORCH,
    MAX_FILE_BYTES,
    SELF_TEST_FILE,
    UPDATE,
    Artefact,
)

Contents = Mapping[str, Path]  # the artefact's files by name, unpacked and verified
Applier = Callable[[Path | None, Artefact, Contents, Path], None]


def apply_bundle(base: Path | None, artefact: Artefact, contents: Contents, out: Path) -> None:
    """Write a whole device half: its files as they are."""
    for name, path in contents.items():
        shutil.copyfile(path, out / name)


def apply_update(base: Path | None, artefact: Artefact, contents: Contents, out: Path) -> None:
    """Write what an update file makes of a device half. Raises UpdateError."""
    from splitnet.updates.update_file import FILE_NAME, apply_update_file  # here: a compiler comes with it

    assert base is not None  # as `apply` has it: an update names its base
    if FILE_NAME not in contents:
        raise UpdateError(f"version {artefact.version} of {artefact.name} is an update without its file: sign it again")
    apply_update_file(read_regular(contents[FILE_NAME], MAX_FILE_BYTES), base, out)


APPLIERS: dict[str, Applier] = {BUNDLE: apply_bundle, UPDATE: apply_update}


def apply(base: Path | None, artefact: Artefact, contents: Contents, out: Path) -> None:
    """Make a new device half in an empty folder, and verify that it is the one that was signed.

    base: the device half that an update applies to. Raises UpdateError if it is another one, or if the artefact does
    not give what it says; BundleError if what came out is damaged.
    """
    if artefact.kind not in APPLIERS:
        raise UpdateError(f"this software cannot apply artefacts of the kind {artefact.kind}: update it")
    if artefact.base and (base is None or digest_of(base) != artefact.base):
        has = "nothing" if base is None else digest_of(base)[:12]
        raise UpdateError(f"the update is for bundle {artefact.base[:12]}, this device has {has}: send it whole")
    APPLIERS[artefact.kind](base, artefact, contents, out)
    if SELF_TEST_FILE in contents and not (out / SELF_TEST_FILE).exists():
        shutil.copyfile(contents[SELF_TEST_FILE], out / SELF_TEST_FILE)
    form, found = form_of(out), digest_of(out)
    if (form, found) != (artefact.form, artefact.result):
        raise UpdateError(f"the artefact gives bundle {found[:12]}, not {artefact.result[:12]}: make it again")


def digest_of(folder: Path) -> str:
    """Return the digest of the bundle whose device half a folder holds. Raises BundleError."""
    if is_package(folder):
        from splitnet.device_package import read_package_manifest

        return read_package_manifest(folder).digest
    from splitnet.manifest import load_manifest

    return load_manifest(folder).digest


def form_of(folder: Path) -> str:
    """Return the form of a device half. Raises BundleError if it is none."""
    from splitnet.manifest import FILE_NAME

    if is_package(folder):
        return FOR_ONNX
    if (folder / FILE_NAME).is_file():
        return FOR_TORCH
    raise BundleError(f"{folder} is no device half: it has no {FILE_NAME} and no {DEVICE_FILE}")
