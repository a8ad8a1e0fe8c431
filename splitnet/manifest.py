"""The manifest of a bundle: what is in it, where it comes from, what was measured. JSON on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from splitnet.atomic_write import write_json
from splitnet.detections import MAX_CLASSES
from splitnet.errors import BundleError, ConfigError
from splitnet.json_values import integer, integers, number, text
from splitnet.letterbox import LATENT_STRIDE, Letterbox
from splitnet.measured_point import MeasuredPoint
from splitnet.nn.architectures import INPUT_SIZES, architecture_of
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder.spec import EncoderSpec
from splitnet.nn.encoder_kinds import encoder_from_json
from splitnet.regular_file import read_regular

FORMAT_VERSION = 2  # 1: other activations; such bundles were never published
FILE_NAME = "manifest.json"
ENCODER_FILE = "encoder.safetensors"
SERVER_FILE = "server.safetensors"
DETECTOR_FILE = "detector.safetensors"
LOCAL_FILE = "local.safetensors"
MAX_FILE_BYTES = 4_000_000  # of manifest.json: a thousand classes and points fit many times
MAX_INPUT_SIZE = 2048
# Fields that describe rather than define: they may change without making it another bundle.
DESCRIPTIVE = ("digest", "origin", "licence", "unsplit", "points", "stream_points", "local")


@dataclass(frozen=True)
class Accuracy:
    """Average precision in percent."""

    ap: float
    ap50: float


@dataclass(frozen=True)
class FileEntry:
    """What a file of the bundle must be."""

    sha256: str  # hexadecimal
    bytes: int


@dataclass(frozen=True)
class LocalDetector:
    """The detector that a device runs alone.

    Nobody but the device must know it, so it is no part of the bundle's digest: it may be added or replaced while
    devices and servers of the bundle go on.
    """

    detector: str  # one that `architectures.architecture_of` knows
    input_size: int  # pixels a side of the square that frames are fitted into
    class_names: tuple[str, ...]
    file: FileEntry
    accuracy: Accuracy | None = None  # on uncompressed images
    mmacs: float | None = None  # millions of multiply-accumulates, a 4:3 frame
    origin: str = ""  # where the weights come from
    licence: str = ""

    def __post_init__(self) -> None:
        """Raise BundleError on values that no detector has."""
        _check_detector(self.detector, self.input_size)


@dataclass(frozen=True)
class CompletedBundle:
    """The bundle whose devices another one serves: both have the same file of the device half.

    So a server takes another detector for devices that are in the field already.
    """

    digest: str  # hexadecimal, by which its devices name it
    detector: str  # whose first stages its encoder stands in for
    split_point: str

    def __post_init__(self) -> None:
        """Raise BundleError on what is no bundle's."""
        is_digest = len(self.digest) == 64 and set(self.digest) <= set("0123456789abcdef")
        _require(is_digest, f"completes {self.digest[:80]!r}, which is no digest")
        _check_split_point(self.detector, self.split_point)


@dataclass(frozen=True)
class Manifest:
    """All that is known of a bundle without its weights."""

    name: str
    detector: str  # one that `architectures.architecture_of` knows
    split_point: str
    input_size: int  # pixels a side of the detector's square
    class_names: tuple[str, ...]
    qualities: int
    encoder: EncoderSpec
    decoder: DecoderSpec | None  # None: it follows from the encoder
    files: Mapping[str, FileEntry]
    origin: str = ""  # where the weights come from
    licence: str = ""
    unsplit: Accuracy | None = None  # of the whole detector on uncompressed pictures
    points: tuple[MeasuredPoint, ...] = ()
    stream_points: tuple[MeasuredPoint, ...] = ()  # of video codecs, as keyframes; apart, for readers of before
    local: LocalDetector | None = None  # of its own; None: a device runs the unsplit detector, if it has that
    completes: CompletedBundle | None = None  # None: it has a device half of its own

    def __post_init__(self) -> None:
        """Raise BundleError on values that no bundle can have."""
        _check_detector(self.detector, self.input_size)
        _check_split_point(self.detector, self.split_point)
        _require(1 <= len(self.class_names) <= MAX_CLASSES, f"{len(self.class_names)} classes")
        _require(1 <= self.qualities <= 64, f"{self.qualities} qualities")
        _require(self.encoder.widths <= 64, f"{self.encoder.widths} widths")
        _require(self.sides[-1] == self.input_size, f"the full width sees {self.sides[-1]} pixels a side")
        try:
            self.encoder.check(self.decoder, *self.front)
        except ConfigError as error:
            raise BundleError(f"not a usable bundle: {error}") from error
        if self.local is not None:
            check_same_classes(self.local.class_names, self.class_names)

    @property
    def front(self) -> tuple[str, str]:
        """The detector whose first stages the encoder stands in for, and the split point where they end."""
        if self.completes is None:
            return self.detector, self.split_point
        return self.completes.detector, self.completes.split_point

    @property
    def device_digest(self) -> str:
        """The digest that devices name and bitstreams carry: that of the bundle whose device half it is."""
        return self.digest if self.completes is None else self.completes.digest

    @property
    def widths(self) -> int:
        """Number of widths: 1 .. widths are valid."""
        return self.encoder.widths

    @property
    def latent_channels(self) -> int:
        """Channels of the latent."""
        return self.encoder.latent_channels

    @property
    def sides(self) -> tuple[int, ...]:
        """Pixels a side of the square that frames are fitted into, for each width."""
        return self.encoder.canvas_sides(self.input_size)

    def side(self, width: int) -> int:
        """Return the side, in pixels, of the square that frames are fitted into at a width; 0: pictures.

        ConfigError if the bundle has no such width.
        """
        if not 0 <= width <= self.widths:
            raise ConfigError(f"width {width}: bundle {self.name} has widths 1..{self.widths}")
        return self.sides[width - 1] if width else self.input_size

    def fit(self, frame_width: int, frame_height: int, width: int) -> Letterbox:
        """Return where a frame lies in the square of a width; 0: of images. ConfigError if there is no such width."""
        stretches = self.encoder.stretches and width > 0
        return Letterbox.fit(frame_width, frame_height, self.side(width), stretches=stretches)

    @property
    def has_detector(self) -> bool:
        """Whether the server half can take whole images as well."""
        return DETECTOR_FILE in self.files

    @property
    def local_file(self) -> str:
        """The file of the detector that a device runs alone."""
        return DETECTOR_FILE if self.local is None else LOCAL_FILE

    @property
    def local_detector(self) -> LocalDetector | None:
        """The detector that a device runs alone: one of its own, or the unsplit one; None if there is neither."""
        if self.local is not None or not self.has_detector:
            return self.local
        entry = self.files[DETECTOR_FILE]
        return LocalDetector(self.detector, self.input_size, self.class_names, entry, self.unsplit)

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """The largest latent (C, H, W): that of a square canvas."""
        side = self.input_size // LATENT_STRIDE
        return self.latent_channels, side, side

    @cached_property  # takes milliseconds, and the server asks at every frame
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of everything that both ends must agree on, the files' digests included."""
        defining = {k: v for k, v in self.to_json().items() if k not in DESCRIPTIVE}
        return hashlib.sha256(json.dumps(defining, sort_keys=True).encode()).hexdigest()

    def with_measurements(
        self, unsplit: Accuracy | None, points: tuple[MeasuredPoint, ...], local: Accuracy | None = None
    ) -> Manifest:
        """Return the same bundle with new figures; its digest stays. local: of the local detector of its own."""
        measured = self.local and replace(self.local, accuracy=local or self.local.accuracy)
        return replace(self, unsplit=unsplit, points=points, local=measured)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values, without its digest."""
        values = {"format_version": FORMAT_VERSION, **asdict(self), "encoder": self.encoder.to_json()}
        if self.completes is None:
            del values["completes"]  # most bundles complete none, and digests of before must stay
        return values

    def write(self, folder: Path) -> None:
        """Write manifest.json; the old one stays until the new one is whole."""
        values = {**self.to_json(), "digest": self.digest}
        write_json(folder / FILE_NAME, values)


def check_same_classes(others: Sequence[str], names: Sequence[str], whose: str = "its local detector") -> None:
    """Raise BundleError unless the classes of something are a bundle's, in the bundle's order, naming what differs."""
    _require(len(others) == len(names), f"{whose} knows {len(others)} classes, the bundle {len(names)}")
    for index, (theirs, ours) in enumerate(zip(others, names, strict=True)):
        _require(theirs == ours, f"class {index} of {whose} is {theirs!r}, of the bundle {ours!r}")


def load_manifest(folder: Path) -> Manifest:
    """Read and check a bundle's manifest. BundleError or DigestMismatchError says what is wrong with it."""
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(f"{path} is over {MAX_FILE_BYTES} bytes: not a manifest")
        values = json.loads(read_regular(path, MAX_FILE_BYTES))
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: it has no {FILE_NAME}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error}); copy the bundle again") from error
    return _parse(values, path)


def _parse(values: Any, path: Path) -> Manifest:
    try:
        version = values["format_version"]
        for_group = str(version).startswith("group-")
        _require(not for_group, "it is for a group of devices: give --group NAME and --part K/N")
        _require(version == FORMAT_VERSION, f"format version {version}, this software reads {FORMAT_VERSION}")
        manifest = Manifest(
            name=text(values["name"]),
            detector=text(values["detector"]),
            split_point=text(values["split_point"]),
            input_size=integer(values["input_size"]),
            class_names=tuple(text(name) for name in values["class_names"]),
            qualities=integer(values["qualities"]),
            encoder=encoder_from_json(values["encoder"]),
            decoder=None if values["decoder"] is None else DecoderSpec(**integers(values["decoder"])),
            files={text(k): _file(v) for k, v in values["files"].items()},
            origin=text(values["origin"]),
            licence=text(values["licence"]),
            unsplit=None if values["unsplit"] is None else _accuracy(values["unsplit"]),
            points=tuple(MeasuredPoint.from_json(point) for point in values["points"]),
            stream_points=tuple(MeasuredPoint.from_json(point) for point in values.get("stream_points", ())),
            local=None if values.get("local") is None else _local(values["local"]),
            completes=None if values.get("completes") is None else _completes(values["completes"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError, BundleError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise BundleError(f"{path}: {reason}") from error
    if values.get("digest") != manifest.digest:
        raise BundleError(f"{path} was edited or damaged: its digest does not match; copy the bundle again")
    return manifest


def _local(values: Any) -> LocalDetector:
    return LocalDetector(
        detector=text(values["detector"]),
        input_size=integer(values["input_size"]),
        class_names=tuple(text(name) for name in values["class_names"]),
        file=_file(values["file"]),
        accuracy=None if values["accuracy"] is None else _accuracy(values["accuracy"]),
        mmacs=None if values["mmacs"] is None else number(values["mmacs"]),
        origin=text(values["origin"]),
        licence=text(values["licence"]),
    )


def _completes(values: Any) -> CompletedBundle:
    return CompletedBundle(text(values["digest"]), text(values["detector"]), text(values["split_point"]))


def _file(values: Any) -> FileEntry:
    return FileEntry(text(values["sha256"]), integer(values["bytes"]))


def _accuracy(values: Any) -> Accuracy:
    return Accuracy(**{name: number(value) for name, value in values.items()})


def _check_detector(name: str, input_size: int) -> None:
    _require(name in INPUT_SIZES, f"unknown detector {name!r}")
    _require(32 <= input_size <= MAX_INPUT_SIZE, f"input size {input_size} is out of range")
    _require(input_size % 32 == 0, f"input size {input_size} is not a multiple of 32")


def _check_split_point(detector: str, split_point: str) -> None:
    _require(detector in INPUT_SIZES, f"unknown detector {detector!r}")
    _require(split_point in architecture_of(detector).split_points, f"unknown split point {split_point!r}")


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise BundleError(f"not a usable bundle: {reason}")
