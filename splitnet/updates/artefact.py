"""What a device can be given: a whole device half (`bundle`), or what makes a new one of one that it has (`update`).

An artefact is described in the signed list of targets, and only there: its files are fetched by their digests, so that
whoever stores or sends them need not be trusted. What comes in is checked here, and bounded before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from splitnet.errors import UpdateError
from splitnet.json_values import integer, text

BUNDLE, UPDATE = "bundle", "update"
KINDS = (BUNDLE, UPDATE)
FOR_TORCH, FOR_ONNX = "torch", "onnx"  # a bundle as training writes it, or a package for devices without PyTorch
FORMS = (FOR_TORCH, FOR_ONNX)
PLAIN, ZSTD = "plain", "zstd"
MAX_FILES = 80
MAX_FILE_BYTES = 1_000_000_000  # the largest detector that a device would run alone is far below
MAX_ARTEFACT_BYTES = 2_000_000_000
MAX_NAME_CHARS = 64
MAX_VERSION = 1 << 53  # what JSON keeps exactly

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ArtefactFile:
    """A file of an artefact, as it is stored and sent, and as it is meant."""

    name: str  # plain: no folder
    sha256: str  # of the content, hexadecimal
    bytes: int
    stored_sha256: str  # of what is stored and sent
    stored_bytes: int
    packing: str = PLAIN  # how it is stored

    def __post_init__(self) -> None:
        """Raise UpdateError on what no file of an artefact has: a path, a size without bounds, no digest."""
        check_name(self.name)
        _check(bool(_DIGEST.fullmatch(self.sha256) and _DIGEST.fullmatch(self.stored_sha256)), "no SHA-256")
        in_bounds = 0 <= self.bytes <= MAX_FILE_BYTES and 0 <= self.stored_bytes <= MAX_FILE_BYTES
        _check(in_bounds, f"file {self.name} of {self.bytes} bytes, sent as {self.stored_bytes}")
        _check(self.packing in (PLAIN, ZSTD), f"packing {self.packing[:20]!r}: this software is too old for it")
        same = (self.sha256, self.bytes) == (self.stored_sha256, self.stored_bytes)
        _check(same or self.packing != PLAIN, f"file {self.name} is stored as it is, but as another one")


@dataclass(frozen=True)
class SelfTest:
    """What the new device half must make of a known image before it may see the camera's.

    The symbols are in the artefact's file SELF_TEST_FILE, as a bitstream of the new half.
    """

    width: int
    quality: int
    seed: int  # of the image: `self_test.test_image`
    agreement_percent: int  # of symbols that must be equal: floats differ from machine to machine


SELF_TEST_FILE = "self-test.bin"


@dataclass(frozen=True)
class Artefact:
    """One version of a model for devices."""

    kind: str  # of KINDS: which function of `applying.APPLIERS` makes a device half of it
    name: str  # of the bundle
    version: int  # of everything that was ever signed, counted up: a device never takes an older one
    result: str  # digest of the bundle that a device has afterwards, hexadecimal
    files: tuple[ArtefactFile, ...]
    base: str = ""  # digest of the bundle that an update applies to
    form: str = FOR_TORCH
    self_test: SelfTest | None = None
    note: str = ""  # for people

    def __post_init__(self) -> None:
        """Raise UpdateError on what no artefact has."""
        _check(self.kind in KINDS, f"kind {self.kind[:20]!r}: this software is too old for it")
        _check(self.form in FORMS, f"form {self.form[:20]!r}: this software is too old for it")
        check_name(self.name)
        _check(0 < self.version <= MAX_VERSION, f"version {self.version}")
        _check(bool(_DIGEST.fullmatch(self.result)), "the result is no digest")
        fits_base = bool(_DIGEST.fullmatch(self.base)) if self.kind == UPDATE else self.base == ""
        _check(fits_base, "the base is no digest" if self.kind == UPDATE else "a whole bundle has no base")
        names = [file.name for file in self.files]
        _check(0 < len(names) <= MAX_FILES and len(set(names)) == len(names), f"{len(names)} files")
        _check(sum(file.bytes for file in self.files) <= MAX_ARTEFACT_BYTES, "more bytes than any device has")
        _check(len(self.note) <= 1000, "a note of over 1000 characters")
        if self.self_test is not None:
            _check(
                SELF_TEST_FILE in names and 0 < self.self_test.agreement_percent <= 100,
                "a self-test that cannot be made",
            )

    @property
    def target(self) -> str:
        """What it is called in the signed list."""
        return f"{self.version}-{self.name}.{self.form}.{self.kind}"

    @property
    def stored_bytes(self) -> int:
        """What is sent of it to a device that has none of its files."""
        return sum(file.stored_bytes for file in self.files)

    def file(self, name: str) -> ArtefactFile:
        """Return the file of a name. Raises UpdateError if there is none."""
        for file in self.files:
            if file.name == name:
                return file
        raise UpdateError(f"version {self.version} of {self.name} has no file {name}")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**asdict(self), "files": [asdict(file) for file in self.files]}


def artefact_from_json(values: Any) -> Artefact:
    """Return what JSON values describe. Raises UpdateError."""
    try:
        return Artefact(
            kind=text(values["kind"]),
            name=text(values["name"]),
            version=integer(values["version"]),
            result=text(values["result"]),
            files=tuple(_file(one) for one in _list(values["files"])),
            base=text(values["base"]),
            form=text(values["form"]),
            self_test=None if values["self_test"] is None else _self_test(values["self_test"]),
            note=text(values["note"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UpdateError(f"the description of an artefact is damaged: {' '.join(str(error).split())}") from error


def check_name(name: str) -> None:
    """Raise UpdateError unless a name is plain: nothing that leaves a folder, hides, or means something to a shell."""
    plain = len(name) <= MAX_NAME_CHARS and bool(_NAME.fullmatch(name)) and ".." not in name
    _check(plain, f"the name {name[:80]!r}")


def _file(values: Mapping[str, Any]) -> ArtefactFile:
    return ArtefactFile(
        text(values["name"]),
        text(values["sha256"]),
        integer(values["bytes"]),
        text(values["stored_sha256"]),
        integer(values["stored_bytes"]),
        text(values["packing"]),
    )


def _self_test(values: Mapping[str, Any]) -> SelfTest:
    width, quality, seed, percent = (
        integer(values[name]) for name in ("width", "quality", "seed", "agreement_percent")
    )
    return SelfTest(width, quality, seed, percent)


def _list(values: Any) -> Sequence[Any]:
    if not isinstance(values, list) or len(values) > MAX_FILES:
        raise UpdateError(f"an artefact has at most {MAX_FILES} files")
    return values


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise UpdateError(f"no artefact has {what}")
