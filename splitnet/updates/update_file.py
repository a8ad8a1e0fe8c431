"""A file `.ssu`: what makes one device half of another one.

    4 bytes    "SSU1"
    8 bytes    of the SHA-256 of all that follows
    4 bytes    length of the head, little-endian
    head       JSON, packed: the digests of both bundles; for each file of the result its name, how it is made, its
               SHA-256, its size, and the size of its part
    parts      of the files in that order

A file is made in one of three ways. `same`: it is the base's. `patch`: packed by Zstandard, with the base's file of the
same name as a dictionary. `weights`: a file of tensors; those in half precision are changed by a weight update
(`splitnet.updates.weights`), and the others, gains and tables, come as a patch.

Files of strangers: sizes are held against limits before memory is taken, and every file against its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from splitnet.errors import UpdateError
from splitnet.json_values import integer, text
from splitnet.regular_file import read_regular
from splitnet.updates.artefact import MAX_ARTEFACT_BYTES, MAX_FILE_BYTES, MAX_FILES, check_name
from splitnet.updates.weights.weight_update import apply_weights

MAGIC = b"SSU1"
FILE_NAME = "update.ssu"
SAME, PATCH, WEIGHTS = WAYS = ("same", "patch", "weights")
MAX_HEAD_BYTES = 64_000
LEVEL = 19
WINDOW_LOG = 24  # of packing: 16 MB, so that all of a device half is in reach
_LENGTH, _CHECK = 4, 8
_BEGIN = len(MAGIC) + _CHECK
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MANIFEST = "manifest.json"

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class UpdatedFile:
    """A file of the result."""

    name: str
    way: str
    sha256: str
    bytes: int
    part_bytes: int

    def __post_init__(self) -> None:
        """Raise UpdateError on what no update has."""
        check_name(self.name)
        in_bounds = 0 <= self.bytes <= MAX_FILE_BYTES and 0 <= self.part_bytes <= MAX_FILE_BYTES
        _check(in_bounds and self.way in WAYS and bool(_DIGEST.fullmatch(self.sha256)), f"a file {self.name} like that")


@dataclass(frozen=True, eq=False)
class Update:
    """What an update file holds."""

    name: str  # of the bundle that results
    base: str  # digests, hexadecimal
    result: str
    files: tuple[UpdatedFile, ...]
    parts: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Raise UpdateError on what no update has."""
        check_name(self.name)
        _check(bool(_DIGEST.fullmatch(self.base) and _DIGEST.fullmatch(self.result)), "such digests")
        names = [file.name for file in self.files]
        _check(0 < len(names) <= MAX_FILES and len(set(names)) == len(names), f"{len(names)} files")
        _check(sum(file.bytes for file in self.files) <= MAX_ARTEFACT_BYTES, "more bytes than any device has")


def make_update_file(
    name: str, base_digest: str, result_digest: str, base: Path, result: Path, weights: Mapping[str, bytes]
) -> bytes:
    """Return the file that makes one device half of another; both are folders with nothing else in them.

    weights: for files of tensors, the updates of their weights (`weight_update`), which must give exactly what the
    result has. Raises UpdateError.
    """
    files, parts = [], []
    for path in sorted(result.iterdir()):
        old, new = _content(base, path.name), path.read_bytes()
        way, part = _way(old, new, weights.get(path.name))
        files.append(UpdatedFile(path.name, way, _sha256(new), len(new), len(part)))
        parts.append(part)
        _check(_made(files[-1], part, old) == new, f"a part that gives another {path.name} than is meant")
    return write_update(Update(name, base_digest, result_digest, tuple(files), tuple(parts)))


def _way(old: bytes, new: bytes, weights: bytes | None) -> tuple[str, bytes]:
    if old == new:
        return SAME, b""
    if weights is None:
        return PATCH, patch_of(old, new)
    others = patch_of(save_tensors(_others(_loaded(old))), save_tensors(_others(_loaded(new))))
    return WEIGHTS, len(weights).to_bytes(_LENGTH, "little") + weights + others


def write_update(update: Update) -> bytes:
    """Return an update as bytes."""
    described = {
        "name": update.name,
        "base": update.base,
        "result": update.result,
        "files": [asdict(file) for file in update.files],
    }
    head = zstandard.ZstdCompressor(level=LEVEL).compress(json.dumps(described).encode())
    return sealed(b"".join((len(head).to_bytes(_LENGTH, "little"), head, *update.parts)))


def sealed(content: bytes) -> bytes:
    """Return the content of an update file with its beginning before it."""
    return MAGIC + hashlib.sha256(content).digest()[:_CHECK] + content


def read_update(data: bytes) -> Update:
    """Return what an update file holds. Raises UpdateError if it is none."""
    _check(data[: len(MAGIC)] == MAGIC and len(data) >= _BEGIN + _LENGTH, "such a beginning: it is no update file")
    if sealed(data[_BEGIN:]) != data:
        raise UpdateError("the update is cut, or damaged: fetch it again")
    begin = _BEGIN + _LENGTH
    end = begin + int.from_bytes(data[_BEGIN:begin], "little")
    _check(end <= min(len(data), begin + MAX_HEAD_BYTES), "a head of that length")
    values = _head(data[begin:end])
    try:
        files = tuple(_file(one) for one in _list(values["files"]))
        ends = np.cumsum([end, *(file.part_bytes for file in files)]).tolist()
        _check(ends[-1] == len(data), "another length than its head says: it is cut, or damaged")
        parts = tuple(data[at:to] for at, to in pairwise(ends))
        return Update(text(values["name"]), text(values["base"]), text(values["result"]), files, parts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UpdateError(f"the head of an update is damaged: {' '.join(str(error).split())}") from error


def apply_update_file(data: bytes, base: Path, out: Path) -> Update:
    """Write the files that an update makes of a device half into an empty folder; returns what the update was.

    Raises UpdateError if it is for another device half, damaged, or does not give what it says.
    """
    update = read_update(data)
    for file, part in zip(update.files, update.parts, strict=True):
        (out / file.name).write_bytes(_made(file, part, _content(base, file.name)))
    _check_listed(out)
    return update


def _made(file: UpdatedFile, part: bytes, old: bytes) -> bytes:
    """Return a file's content, which is verified."""
    if file.way == SAME:
        _check(not part, f"a part for {file.name}, which stays")
        content = old
    else:
        content = patched(old, part, file.bytes) if file.way == PATCH else _reweighted(old, part, file.bytes)
    if (len(content), _sha256(content)) != (file.bytes, file.sha256):
        raise UpdateError(f"the update gives another {file.name} than it says: it is damaged, or for another model")
    return content


def _reweighted(old: bytes, part: bytes, most_bytes: int) -> bytes:
    """Return a file of tensors with changed weights."""
    count = int.from_bytes(part[:_LENGTH], "little")
    _check(_LENGTH + count <= len(part), "weights that end too early")
    tensors = _loaded(old)
    weights = apply_weights(part[_LENGTH : _LENGTH + count], halves_of(tensors))
    others = patched(save_tensors(_others(tensors)), part[_LENGTH + count :], most_bytes)
    return save_tensors({**_others(_loaded(others)), **weights})


def halves_of(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Return the tensors in half precision: the weights of a network."""
    return {name: one for name, one in tensors.items() if one.dtype == np.float16}


def _others(tensors: Tensors) -> dict[str, NDArray[Any]]:
    return {name: one for name, one in tensors.items() if one.dtype != np.float16}


def patch_of(old: bytes, new: bytes) -> bytes:
    """Return what makes new bytes of old ones."""
    parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, window_log=WINDOW_LOG, enable_ldm=True)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=_dictionary(old)).compress(new)


def patched(old: bytes, patch: bytes, most_bytes: int) -> bytes:
    """Return the new bytes of a patch, at most so many. Raises UpdateError if it is damaged, or makes more."""
    try:
        frame = zstandard.get_frame_parameters(patch)
        if frame.content_size > most_bytes or frame.window_size > 1 << WINDOW_LOG:
            raise UpdateError(f"a patch gives {frame.content_size} bytes instead of at most {most_bytes}")
        unpacker = zstandard.ZstdDecompressor(dict_data=_dictionary(old), max_window_size=1 << WINDOW_LOG)
        return unpacker.decompress(patch, max_output_size=most_bytes)
    except zstandard.ZstdError as error:
        raise UpdateError("a patch is damaged, or for another file") from error


def _dictionary(old: bytes) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if len(old) >= 8 else None


def _head(packed: bytes) -> Any:
    try:
        return json.loads(patched(b"", packed, MAX_HEAD_BYTES))
    except (ValueError, RecursionError) as error:
        raise UpdateError("the head of an update is damaged") from error


def _file(values: Mapping[str, Any]) -> UpdatedFile:
    name, way, sha256 = (text(values[one]) for one in ("name", "way", "sha256"))
    return UpdatedFile(name, way, sha256, integer(values["bytes"]), integer(values["part_bytes"]))


def _list(values: Any) -> list[Any]:
    _check(isinstance(values, list) and len(values) <= MAX_FILES, "so many files")
    return list(values)


def _loaded(data: bytes) -> dict[str, NDArray[Any]]:
    try:
        return dict(load_tensors(data))
    except (SafetensorError, TypeError, KeyError) as error:
        raise UpdateError(f"no file of tensors: {' '.join(str(error).split())}") from error


def _content(folder: Path, name: str) -> bytes:
    """Return a file of a device half; nothing if it has no such file."""
    try:
        return read_regular(folder / name, MAX_FILE_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UpdateError(f"{folder / name} cannot be read ({error.strerror})") from error


def _check_listed(out: Path) -> None:
    """Raise UpdateError if a file is another one than the manifest lists: its digest does not cover all of them."""
    try:
        values = json.loads((out / _MANIFEST).read_bytes())
        local = values.get("local")  # of the detector that a device runs alone, if it is none of the bundle's own
        listed = {**values["files"], **({} if local is None else {"local.safetensors": local["file"]})}
        wrong = [name for name, one in listed.items() if (out / name).is_file() and _is_other(out / name, one)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UpdateError("the update gives no usable manifest: make it again") from error
    if wrong:
        raise UpdateError(f"the update gives another {wrong[0]} than its manifest lists: make it again")


def _is_other(path: Path, entry: Mapping[str, Any]) -> bool:
    return bool(_sha256(path.read_bytes()) != entry["sha256"])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise UpdateError(f"no update has {what}")
