"""The manifest of a group's bundle: `manifest.json` of a format of its own, which older software refuses by its number.

A group's bundle has a file for each part, `part-K.safetensors`, and `server.safetensors`. A device needs the manifest
and the file of its own part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from splitnet.atomic_write import write_json
from splitnet.detections import MAX_CLASSES
from splitnet.errors import BundleError, ConfigError
from splitnet.groups.part_kinds import PartSpec, part_from_json
from splitnet.json_values import integer, number, text
from splitnet.letterbox import LATENT_STRIDE, Letterbox
from splitnet.manifest import FILE_NAME, MAX_FILE_BYTES, MAX_INPUT_SIZE, FileEntry, load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.messages import MAX_PARTS
from splitnet.regular_file import read_regular

FORMAT = "group-1"  # in the place of a bundle's format version
SERVER_FILE = "server.safetensors"
DESCRIPTIVE = ("origin", "licence", "measured")  # may change without making it another bundle


def part_file(part: int) -> str:
    """Return the name of a part's file."""
    return f"part-{part}.safetensors"


@dataclass(frozen=True)
class GroupManifest:
    """All that is known of a group's bundle without its weights."""

    name: str
    task: str  # one that `group_tasks.TASKS` knows
    input_size: int  # pixels a side of the square that frames are fitted into
    stretches: bool  # frames fill the square; else they are letterboxed
    class_names: tuple[str, ...]
    qualities: int
    networks: tuple[PartSpec, ...]  # of the parts
    server: Mapping[str, Any]  # what the task says of the server half
    files: Mapping[str, FileEntry]
    origin: str = ""
    licence: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)  # accuracy by how many parts were lost

    def __post_init__(self) -> None:
        """Raise BundleError on values that no bundle can have."""
        _require(1 <= self.parts <= MAX_PARTS, f"{self.parts} parts")
        _require(1 <= len(self.class_names) <= MAX_CLASSES, f"{len(self.class_names)} classes")
        _require(1 <= self.qualities <= 64, f"{self.qualities} qualities")
        _require(LATENT_STRIDE <= self.input_size <= MAX_INPUT_SIZE, f"an input size of {self.input_size}")
        _require(self.input_size % LATENT_STRIDE == 0, f"an input size of {self.input_size}")

    @property
    def parts(self) -> int:
        """The number of parts."""
        return len(self.networks)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of everything that devices and server must agree on, the files' digests included."""
        defining = {k: v for k, v in self.to_json().items() if k not in DESCRIPTIVE}
        return hashlib.sha256(json.dumps(defining, sort_keys=True).encode()).hexdigest()

    @property
    def device_digest(self) -> str:
        """The digest that devices name."""
        return self.digest

    def of_part(self, part: int) -> PartManifest:
        """Return what a device knows of it that makes one part. ConfigError if there is no such part."""
        if not 1 <= part <= self.parts:
            raise ConfigError(f"group bundle {self.name} has parts 1 to {self.parts}, not {part}")
        return PartManifest(self, part)

    def fit(self, frame_width: int, frame_height: int) -> Letterbox:
        """Return where a frame lies in the square."""
        return Letterbox.fit(frame_width, frame_height, self.input_size, stretches=self.stretches)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, without its digest."""
        networks = [one.to_json() for one in self.networks]
        return {"format_version": FORMAT, **asdict(self), "networks": networks}

    def write(self, folder: Path) -> None:
        """Write manifest.json; the old one stays until the new one is whole."""
        write_json(folder / FILE_NAME, {**self.to_json(), "digest": self.digest})


class PartManifest:
    """A group's manifest as a device of it knows it, with those names of a `Manifest` that a device asks for."""

    widths = 1
    points: tuple[MeasuredPoint, ...] = ()  # nothing is chosen from: a part is made at a fixed quality
    stream_points: tuple[MeasuredPoint, ...] = ()
    local = None  # no device of a group can detect alone
    local_detector = None
    local_file = "local.safetensors"

    def __init__(self, group: GroupManifest, part: int) -> None:
        """Take the group's manifest, and which part it is."""
        self.group, self.part = group, part
        self.name, self.digest, self.device_digest = group.name, group.digest, group.digest
        self.class_names, self.qualities, self.input_size = group.class_names, group.qualities, group.input_size
        self.network = group.networks[part - 1]
        self.latent_channels = self.network.latent_channels

    @property
    def codec_digest(self) -> str:
        """The digest that the part's bitstreams carry: that of another part would not be taken for it."""
        return hashlib.sha256(f"{self.digest} {self.part}".encode()).hexdigest()

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """The largest latent (C, H, W): that of a square canvas."""
        side = self.input_size // self.network.stride
        return self.latent_channels, side, side

    @property
    def sides(self) -> tuple[int, ...]:
        """Pixels a side of the square that frames are fitted into: there is one width."""
        return (self.input_size,)

    def side(self, width: int) -> int:
        """Return the pixels a side of the square that frames are fitted into. ConfigError for another width than 1."""
        if width not in (0, 1):
            raise ConfigError(f"width {width}: a part of a group has one width, 1")
        return self.input_size

    def fit(self, frame_width: int, frame_height: int, width: int = 1) -> Letterbox:
        """Return where a frame lies in the square. ConfigError for another width than 1."""
        self.side(width)
        return self.group.fit(frame_width, frame_height)

    def shape(self, letterbox: Letterbox) -> tuple[int, int, int]:
        """Return the shape (C, h, w) of the symbols of a frame."""
        stride = self.network.stride
        return self.latent_channels, letterbox.canvas_height // stride, letterbox.canvas_width // stride


def is_group(folder: Path) -> bool:
    """Return whether a folder holds a group's bundle, be it usable or not."""
    try:
        values = _read(folder / FILE_NAME)
    except (OSError, ValueError, RecursionError, BundleError):
        return False
    return isinstance(values, dict) and str(values.get("format_version")).startswith("group-")


def load_group_manifest(folder: Path) -> GroupManifest:
    """Read and check a group's manifest. BundleError says what is wrong with it."""
    path = folder / FILE_NAME
    try:
        values = _read(path)
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: it has no {FILE_NAME}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error}); copy the bundle again") from error
    return _parse(values, path)


def digest_in(folder: Path) -> str:
    """Return the digest of the bundle in a folder, a group's or any other. BundleError if it is none."""
    return load_group_manifest(folder).digest if is_group(folder) else load_manifest(folder).digest


def _read(path: Path) -> Any:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BundleError(f"{path} is over {MAX_FILE_BYTES} bytes: not a manifest")
    return json.loads(read_regular(path, MAX_FILE_BYTES))


def _parse(values: Any, path: Path) -> GroupManifest:
    try:
        version = values["format_version"]
        if not str(version).startswith("group-"):
            raise BundleError("not a group's bundle: it has no parts; leave --group out, or give another --bundle")
        _require(version == FORMAT, f"format {version}, this software reads {FORMAT}")
        manifest = GroupManifest(
            name=text(values["name"]),
            task=text(values["task"]),
            input_size=integer(values["input_size"]),
            stretches=_flag(values["stretches"]),
            class_names=_texts(values["class_names"]),
            qualities=integer(values["qualities"]),
            networks=tuple(part_from_json(one) for one in values["networks"]),
            server=dict(values["server"]),
            files={text(k): FileEntry(text(v["sha256"]), integer(v["bytes"])) for k, v in values["files"].items()},
            origin=text(values["origin"]),
            licence=text(values["licence"]),
            measured={text(k): number(v) for k, v in values["measured"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, BundleError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise BundleError(f"{path}: {reason}") from error
    if values.get("digest") != manifest.digest:
        raise BundleError(f"{path} was edited or damaged: its digest does not match; copy the bundle again")
    return manifest


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(text(one) for one in values)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, found {value!r}")
    return value


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise BundleError(f"not a usable group's bundle: {reason}")
