"""The encoder: from a frame to a payload by letterbox, network, quantiser and entropy coder, or by an image codec."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edge_client.encoding.backends import ONNXRUNTIME, TORCH, start_backend
from edge_client.encoding.idle_memory import release_idle_memory
from edge_client.encoding.latent_coder import LatentCoder
from edge_client.encoding.references import SentReferences
from edge_client.encoding.turning import AT_REST, TurningCamera
from edge_client.encoding.video_stream import VideoStream
from edge_client.frames import EncodedFrame, Image, Moved
from splitnet.codec.h264 import require_av
from splitnet.codec.image_codec import compress_image
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.package_folder import is_package

if TYPE_CHECKING:
    from splitnet.bundle import DeviceBundle
    from splitnet.device_package import DevicePackage, PackageManifest
    from splitnet.manifest import Manifest
    from splitnet.messages import GroupPlace
    from splitnet.updates.artefact import SelfTest

NO_TORCH = (
    "PyTorch is not installed, and --bundle is no package for devices without it: make one on the server with "
    "`cloud-server deliver BUNDLE --out DIR` and copy it here"
)


class EncoderRuntime:
    """The device half of a bundle, ready to encode at any operating point. One thread at a time."""

    def __init__(
        self, bundle: DeviceBundle | DevicePackage, clock: Callable[[], float] = time.perf_counter, backend: str = TORCH
    ) -> None:
        """Take a device half. backend: what runs it already (see `backends`)."""
        self.backend = backend
        self._bundle = bundle
        self._coder = LatentCoder(bundle)
        self._camera = TurningCamera()
        self._video: VideoStream | None = None
        self._clock = clock

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._bundle.manifest

    def for_another_camera(self) -> EncoderRuntime:
        """Return an encoder of the same weights that knows nothing of this one's frames. One of both at a time."""
        return EncoderRuntime(self._bundle, self._clock, self.backend)

    def encode(
        self,
        image: Image,
        point: OperatingPoint,
        frame_id: int = 0,
        references: SentReferences | None = None,
        layers: int = 1,
    ) -> EncodedFrame:
        """Encode a frame (H, W, 3) uint8 BGR of any size at an operating point of this bundle.

        references: what the server holds of its session; a frame that is cheaper as changes against that is coded so.
        A frame that would be far larger than images are at this point is sent at a lower quality: the result's point
        is the one that it was encoded at. layers: that a frame is coded in, if it is features and stands alone.
        """
        begin = self._clock()
        height, width = image.shape[:2]
        box = self.manifest.fit(width, height, point.width)
        canvas = box.apply(image)
        if point.mode is Mode.IMAGE:
            fitted = self._clock()
            payload, builds_on = self._image(canvas, point, frame_id, references)
            coded = self._clock()
            return EncodedFrame(point, payload, _ms(begin, fitted), 0.0, _ms(fitted, coded), builds_on=builds_on)
        base = None if references is None else references.best(point.width)
        placement = self._camera.place(box.picture(canvas), base)
        if placement.offset != AT_REST:
            canvas = box.apply(image, placement.offset)
        fitted = self._clock()
        latent = self._bundle.encoder.latent(canvas, point.width)
        encoded = self._clock()
        code = self._coder.code(latent, point, frame_id, base, layers, placement.shift)
        is_unchanged = code.is_unchanged and placement.offset == self._camera.offset_of(base)
        self._camera.coded(code.reference, placement, code.changed_share if base is not None else 0.0)
        coded = self._clock()
        return EncodedFrame(
            code.point,
            code.payload,
            letterbox_ms=_ms(begin, fitted),
            network_ms=_ms(fitted, encoded),
            entropy_ms=_ms(encoded, coded),
            reference=code.reference,
            builds_on=code.builds_on,
            is_unchanged=is_unchanged,
            layers=code.layers,
            moved=None if placement.offset == AT_REST else Moved(box, placement.offset),
        )

    def _image(
        self, canvas: Image, point: OperatingPoint, frame_id: int, references: SentReferences | None
    ) -> tuple[bytes, int | None]:
        if point.codec is not Codec.H264:
            return compress_image(canvas, point.codec, point.quality), None
        if self._video is None:
            self._video = VideoStream()
        return self._video.encode(canvas, point.quality, references, frame_id)

    def self_test(self, test: SelfTest, expected: bytes) -> float:
        """Return the share of symbols that are as the model's signer has found them. Raises UpdateError."""
        from splitnet.updates.self_test import check

        return check(self._bundle, test, expected)

    def check(self, point: OperatingPoint) -> None:
        """Raise ConfigError if the bundle has no such operating point, or this device cannot encode at it."""
        manifest = self.manifest
        if point.codec is Codec.H264:
            require_av()
        if point.mode is Mode.SPLIT and (point.width > manifest.widths or point.quality >= manifest.qualities):
            raise ConfigError(
                f"bundle {manifest.name} has widths 1..{manifest.widths} and qualities "
                f"0..{manifest.qualities - 1}, not width {point.width} quality {point.quality}"
            )

    def warm_up(self, frame_size: tuple[int, int] | None = None) -> None:
        """Compile and allocate what the first frame would otherwise wait for. frame_size: (width, height)."""
        side = self.manifest.input_size
        width, height = frame_size or (side, side)
        self._bundle.codec.warm_up()
        for each in range(1, self.manifest.widths + 1):
            letterbox = self.manifest.fit(width, height, each)
            self._bundle.encoder.warm_up(each, letterbox.canvas_height, letterbox.canvas_width)

    def has_layers(self, point: OperatingPoint) -> bool:
        """Return whether a frame at an operating point can be sent in layers."""
        layered = self._bundle.codec.layered
        return point.codec is Codec.RANS and layered is not None and layered.is_of_use(point.width, point.quality)

    def byte_cap(self, point: OperatingPoint) -> int | None:
        """Return the most bytes of a frame at an operating point; None for images."""
        return self._bundle.codec.byte_cap(point.width, point.quality) if point.mode is Mode.SPLIT else None

    def mmacs(self, width: int, frame_size: tuple[int, int]) -> float:
        """Return the millions of multiply-accumulates that a width spends on a frame of (width, height)."""
        letterbox = self.manifest.fit(*frame_size, width)
        return self._bundle.encoder.mmacs(width, letterbox.canvas_height, letterbox.canvas_width)


def read_manifest(folder: Path) -> Manifest | PackageManifest:
    """Return what a bundle, or a package for devices without PyTorch, says of itself. BundleError, ConfigError."""
    if is_package(folder):
        from splitnet.device_package import read_package_manifest

        return read_package_manifest(folder)
    try:
        from splitnet.manifest import load_manifest  # here: it loads torch, which a small device does not have
    except ModuleNotFoundError as error:
        raise _unless_torch_is_missing(error) from error
    return load_manifest(folder)


def load_encoder(
    folder: Path, device: str, threads: int, backend: str = TORCH, place: GroupPlace | None = None
) -> EncoderRuntime:
    """Load a bundle's device half onto "cpu" or "cuda", warmed up, to use at most `threads` CPU threads.

    backend: one of `backends.BACKENDS`. place: the device's in its group, of whose bundle it makes a part. Raises
    BundleError, or ConfigError if there is no such device or back end.
    """
    if place is not None:
        return _of_group(folder, place, device, threads, backend)
    if is_package(folder):
        return _from_package(folder, device, threads, backend)
    try:
        import torch  # here, because a program that shows its help or profiles nothing can do without

        from splitnet.bundle import load_device
    except ModuleNotFoundError as error:
        raise _unless_torch_is_missing(error) from error
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("this PyTorch sees no CUDA device; use --device cpu")
    torch.set_num_threads(threads)
    return _started(load_device(folder), device, threads, backend)


def _unless_torch_is_missing(error: ModuleNotFoundError) -> Exception:
    return ConfigError(NO_TORCH) if error.name == "torch" else error


def _started(bundle: DeviceBundle, device: str, threads: int, backend: str) -> EncoderRuntime:
    cv2.setNumThreads(1)  # a pool of its own costs more memory than resizing one image gains
    bundle.encoder.to(device)
    runtime = EncoderRuntime(bundle, backend=start_backend(bundle.encoder, backend, threads))
    runtime.warm_up()
    release_idle_memory()
    return runtime


def _of_group(folder: Path, place: GroupPlace, device: str, threads: int, backend: str) -> EncoderRuntime:
    import torch

    from splitnet.groups.group_bundle import load_part

    torch.set_num_threads(threads)
    return _started(load_part(folder, place.part, place.parts), device, threads, backend)


def _from_package(folder: Path, device: str, threads: int, backend: str) -> EncoderRuntime:
    if device != "cpu" or backend == TORCH:
        raise ConfigError(f"{folder} is a package for ONNX Runtime on the CPU: leave --device and --backend out")
    from splitnet.device_package import load_package

    cv2.setNumThreads(1)
    runtime = EncoderRuntime(load_package(folder, threads), backend=ONNXRUNTIME)
    runtime.warm_up()
    release_idle_memory()
    return runtime


def _ms(begin: float, end: float) -> float:
    return (end - begin) * 1000
