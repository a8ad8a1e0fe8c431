"""What a small device needs of a bundle, without PyTorch: networks as ONNX models, gains, tables, and what is measured.

A folder that `cloud-server deliver` makes: `device.json`, `tables.safetensors` and a model for each width, or one for
all. Nothing of it is new: bitstreams are those of the bundle, and servers of the bundle take them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from splitnet.codec.bitstream import DIGEST_BYTES
from splitnet.codec.change_codec import ChangeCodec
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.errors import BundleError, ConfigError, DigestMismatchError
from splitnet.json_values import integer, number, text
from splitnet.letterbox import LATENT_STRIDE, PADDING_VALUE, Letterbox
from splitnet.measured_point import MeasuredPoint
from splitnet.onnx_runtime import INPUT, start_session
from splitnet.package_folder import DEVICE_FILE
from splitnet.quantiser import Latent, Quantiser
from splitnet.regular_file import read_regular

if TYPE_CHECKING:
    from splitnet.manifest import Manifest

TABLES_FILE = "tables.safetensors"
FORMAT_VERSION = 1
MAX_JSON_BYTES = 4_000_000
MAX_FILE_BYTES = 1_000_000_000
TABLES, CHANGE_TABLES = "entropy.", "changes."
# By their content: bundles with the same device half have them in common, and they take megabytes.
_MODELS: WeakValueDictionary[bytes, EntropyModel] = WeakValueDictionary()
_CHANGE_MODELS: WeakValueDictionary[bytes, ChangeModel] = WeakValueDictionary()
UINT16 = {"quantized_cdf", "table_index", "flag_index", "change_index"}


@dataclass(frozen=True)
class PackageManifest:
    """What a package says of its bundle: of a `Manifest`, as much as a device asks for."""

    name: str
    digest: str
    device_digest: str
    class_names: tuple[str, ...]
    input_size: int  # pixels a side of the detector's square
    sides: tuple[int, ...]  # pixels a side of the square that frames are fitted into, for each width
    stretches: bool
    qualities: int
    latent_channels: int
    mmacs_per_pixel: tuple[float, ...]  # of the canvas, for each width
    points: tuple[MeasuredPoint, ...]
    stream_points: tuple[MeasuredPoint, ...]
    models: tuple[str, ...]  # the file of each width
    files: Mapping[str, str]  # SHA-256 by name
    has_detector: ClassVar = False  # which takes whole images, as far as a package says
    local: None = None  # a device that detects alone needs PyTorch
    local_detector: None = None
    local_file: str = "local.onnx"

    def __post_init__(self) -> None:
        """Raise BundleError on values that no package can have."""
        sizes = (len(self.sides), len(self.models), len(self.mmacs_per_pixel))
        fits = 1 <= len(self.sides) <= 64 and len(set(sizes)) == 1 and 1 <= self.qualities <= 64
        names_files = set(self.models) | {TABLES_FILE} <= set(self.files) and not any("/" in one for one in self.files)
        if not (fits and names_files and all(32 <= side <= 2048 and side % LATENT_STRIDE == 0 for side in self.sides)):
            raise BundleError("not a usable package: widths, sides and files do not fit together; make it again")

    @property
    def widths(self) -> int:
        """Number of widths: 1 .. widths are valid."""
        return len(self.sides)

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """The largest latent (C, H, W): that of a square canvas."""
        side = self.input_size // LATENT_STRIDE
        return self.latent_channels, side, side

    def side(self, width: int) -> int:
        """Return the side, in pixels, of the square that frames are fitted into at a width; 0: images."""
        if not 0 <= width <= self.widths:
            raise ConfigError(f"width {width}: bundle {self.name} has widths 1..{self.widths}")
        return self.sides[width - 1] if width else self.input_size

    def fit(self, frame_width: int, frame_height: int, width: int) -> Letterbox:
        """Return where a frame lies in the square of a width; 0: of images. ConfigError if there is no such width."""
        return Letterbox.fit(frame_width, frame_height, self.side(width), stretches=self.stretches and width > 0)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        kept = {name: value for name, value in asdict(self).items() if not name.startswith("local")}
        return {"format_version": FORMAT_VERSION, **kept}


class OnnxDevice:
    """The device's networks in ONNX Runtime, and the quantiser. Takes the place of `split_detector.DeviceHalf`."""

    device = "cpu"

    def __init__(
        self, manifest: PackageManifest, gains: NDArray[np.float32], models: list[bytes], threads: int
    ) -> None:
        """Take gains (widths, qualities, channels) and the model of each width. BackendError if one cannot be run."""
        self._quantiser = Quantiser(gains)
        self.quantise, self.quantise_near = self._quantiser.quantise, self._quantiser.quantise_near
        sessions = {model: start_session(model, threads) for model in dict.fromkeys(models)}  # widths may share one
        self._sessions = [sessions[model] for model in models]
        self._mmacs_per_pixel = manifest.mmacs_per_pixel

    def latent(self, canvas: NDArray[np.uint8], width: int) -> Latent:
        """Turn a BGR canvas (H, W, 3), sides multiples of 16, into the latent (C, H/16, W/16) of every quality."""
        self._quantiser.check(width, 0)
        pixels = canvas.reshape(1, len(canvas), -1)
        return cast(Latent, self._sessions[width - 1].run(None, {INPUT: pixels})[0])

    def warm_up(self, width: int, canvas_height: int, canvas_width: int) -> None:
        """Run a width once, so that the first frame is not the slow one."""
        self.latent(np.full((canvas_height, canvas_width, 3), PADDING_VALUE, np.uint8), width)

    def mmacs(self, width: int, canvas_height: int, canvas_width: int) -> float:
        """Return the millions of multiply-accumulates of a width on a canvas, about."""
        return self._mmacs_per_pixel[width - 1] * canvas_height * canvas_width


@dataclass(frozen=True)
class DevicePackage:
    """A package that is loaded; with the names of a `bundle.DeviceBundle`."""

    manifest: Manifest  # a PackageManifest, which stands in for one
    encoder: OnnxDevice
    codec: FeatureCodec
    folder: Path


def load_package(folder: Path, threads: int) -> DevicePackage:
    """Load a package. BundleError or DigestMismatchError if it is damaged, BackendError without ONNX Runtime."""
    manifest = read_package_manifest(folder)
    tables = _arrays(_read(folder, manifest, TABLES_FILE))
    gains = tables.get("gains")
    shape = (manifest.widths, manifest.qualities, manifest.latent_channels)
    if gains is None or gains.shape != shape or not bool((gains >= 0).all()):
        raise BundleError(f"{folder / TABLES_FILE}: the gains do not fit; copy the package again")
    models = [_read(folder, manifest, name) for name in manifest.models]
    encoder = OnnxDevice(manifest, gains.astype(np.float32), models, threads)
    return DevicePackage(cast("Manifest", manifest), encoder, codec_of(manifest, tables, gains), folder)


def codec_of(
    manifest: Manifest | PackageManifest, arrays: Mapping[str, NDArray[Any]], gains: NDArray[np.float32]
) -> FeatureCodec:
    """Return the codec of a bundle's tables. BundleError if they do not fit it."""
    tables = _tables(arrays, TABLES)
    model = _MODELS.setdefault(_content(tables), EntropyModel.from_arrays(tables))
    if model.table_index.shape[:3] != (manifest.widths, manifest.qualities, manifest.latent_channels):
        raise BundleError("the entropy tables do not fit the manifest; copy the bundle again")
    positions = [(side // LATENT_STRIDE) ** 2 for side in manifest.sides]
    digest = bytes.fromhex(manifest.device_digest)[:DIGEST_BYTES]
    changes = _tables(arrays, CHANGE_TABLES)
    coder = None
    if changes:
        change_model = _CHANGE_MODELS.setdefault(_content(changes), ChangeModel.from_arrays(changes))
        coder = ChangeCodec(change_model, model, gains, digest)
    return FeatureCodec(model, digest, manifest.latent_size, positions, coder, gains)


def _content(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return sha.digest()


def _tables(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the integer tables whose names begin with a prefix, without it."""
    found = {}
    for key, array in arrays.items():
        if key.startswith(prefix):
            field = key.removeprefix(prefix)
            if array.dtype != np.int32:
                raise BundleError(f"{key} holds no integers; copy the bundle again")
            found[field] = array.astype(np.uint16) if field in UINT16 else array
    return found


def read_package_manifest(folder: Path) -> PackageManifest:
    """Read what a package says of itself. Raises BundleError."""
    path = folder / DEVICE_FILE
    try:
        values = json.loads(read_regular(path, MAX_JSON_BYTES))
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise BundleError(f"format version {version}, this software reads {FORMAT_VERSION}")
        return PackageManifest(
            name=text(values["name"]),
            digest=text(values["digest"]),
            device_digest=text(values["device_digest"]),
            input_size=integer(values["input_size"]),
            qualities=integer(values["qualities"]),
            latent_channels=integer(values["latent_channels"]),
            class_names=tuple(text(name) for name in values["class_names"]),
            sides=tuple(integer(side) for side in values["sides"]),
            stretches=values["stretches"] is True,
            mmacs_per_pixel=tuple(number(one) for one in values["mmacs_per_pixel"]),
            points=tuple(MeasuredPoint.from_json(point) for point in values["points"]),
            stream_points=tuple(MeasuredPoint.from_json(point) for point in values["stream_points"]),
            models=tuple(text(name) for name in values["models"]),
            files={text(name): text(digest) for name, digest in values["files"].items()},
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError, BundleError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path}: {reason}: make the package again (cloud-server deliver)") from error


def _read(folder: Path, manifest: PackageManifest, name: str) -> bytes:
    try:
        data = read_regular(folder / name, MAX_FILE_BYTES)
    except OSError as error:
        raise BundleError(f"{folder / name} cannot be read ({error.strerror}): copy the package again") from error
    if hashlib.sha256(data).hexdigest() != manifest.files[name]:
        raise DigestMismatchError(f"{folder / name} is not the package's: copy the package again")
    return data


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    try:
        return dict(load_arrays(data))
    except (SafetensorError, TypeError, KeyError) as error:
        raise BundleError(f"{TABLES_FILE} is not a safetensors file: {' '.join(str(error).split())}") from error
