"""Ways of sending video to a detector: each codes the frames of one clip in order, at one setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.video.video_codec import VideoCodec
from edge_client.encoding.latent_coder import LatentCoder
from edge_client.encoding.references import SentReferences
from splitnet.bundle import DeviceBundle, ServerBundle
from splitnet.codec.change_codec import DecodedLatent
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.codec.references import MAX_REFERENCES, ReferenceStore
from splitnet.errors import ConfigError
from splitnet.nn.detector import Detector
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import Codec, OperatingPoint

Canvas = NDArray[np.uint8]  # (H, W, 3) BGR, scaled and padded as the device does

IMAGE_QUALITIES = {Codec.JPEG: (5, 10, 20, 40, 60, 80), Codec.WEBP: (0, 5, 20, 50, 80)}
STREAMS = (("libx264", "veryfast"), ("libx264", "ultrafast"), ("libx265", "ultrafast"))
CRFS = (18, 24, 30, 36, 42, 48)


class VideoSystem(Protocol):
    """One way of sending a clip, with whatever state both its ends keep."""

    def encode(self, canvas: Canvas) -> bytes:
        """Do all that the device does with the next frame."""
        ...

    def receive(self, payload: bytes) -> Any:
        """Decode that payload, as the server does with every frame."""
        ...

    def look(self, received: Any) -> Tensor:
        """Return the detector's raw predictions (1, A, ...) of what was decoded."""
        ...


class SplitVideo:
    """A split operating point: every frame alone, or as changes against the one before."""

    def __init__(self, device: DeviceBundle, server: ServerBundle, point: OperatingPoint, changes: bool) -> None:
        self._device, self._server, self._point = device, server, point
        self._coder = LatentCoder(device)
        self._sent, self._store = SentReferences(), ReferenceStore()
        self._sent.allow(MAX_REFERENCES if changes else 0)
        self._frame_id = 0

    def encode(self, canvas: Canvas) -> bytes:
        """Encode against the last frame, which has been answered."""
        self._frame_id += 1
        latent = self._device.encoder.latent(canvas, self._point.width)
        coded = self._coder.code(latent, self._point, self._frame_id, self._sent)
        if coded.reference is not None:
            self._sent.sent(coded.reference)
        return coded.payload

    def receive(self, payload: bytes) -> DecodedLatent:
        """Decode and keep the latent, and let the device know."""
        latent = self._server.codec.decode(payload, self._store)
        self._store.put(latent.as_reference(self._frame_id))
        self._sent.answered(self._frame_id)
        return latent

    @torch.inference_mode()
    def look(self, received: DecodedLatent) -> Tensor:
        """Complete the detection."""
        half = self._server.half
        whole: Tensor = half(half.dequantise(received.symbols, received.width, received.quality)[None])
        return whole


@dataclass
class ImageVideo:
    """Every frame as an image of its own."""

    detector: Detector
    input_size: int
    codec: Codec
    quality: int

    def encode(self, canvas: Canvas) -> bytes:
        """Compress the image."""
        return compress_image(canvas, self.codec, self.quality)

    def receive(self, payload: bytes) -> Canvas:
        """Decode the image."""
        return decompress_image(payload, self.codec, self.input_size, self.input_size)

    def look(self, received: Canvas) -> Tensor:
        """Look at the image."""
        return _look(self.detector, received, self.input_size)


@dataclass
class StreamVideo:
    """A video codec's stream."""

    detector: Detector
    input_size: int
    codec: VideoCodec

    def encode(self, canvas: Canvas) -> bytes:
        """Encode the next image of the stream."""
        return self.codec.encode(canvas)

    def receive(self, payload: bytes) -> Canvas:
        """Decode the stream's next image."""
        return self.codec.decode(payload)

    def look(self, received: Canvas) -> Tensor:
        """Look at the image."""
        return _look(self.detector, received, self.input_size)


@torch.inference_mode()
def _look(detector: Detector, canvas: Canvas, input_size: int) -> Tensor:
    whole: Tensor = detector(image_input(canvas, input_size)[None])
    return whole


@dataclass(frozen=True)
class Setting:
    """A system at one setting. make: a fresh one for a clip of canvases (width, height)."""

    system: str
    setting: str
    make: Callable[[tuple[int, int]], VideoSystem]


def settings_of(device: DeviceBundle, server: ServerBundle, qualities: list[int], with_stream: bool) -> list[Setting]:
    """Return every system at every setting, the bundle's at full width. ConfigError if the bundle cannot take part."""
    detector, size = server.detector, device.manifest.input_size
    if device.codec.changes is None or detector is None:
        raise ConfigError("the bundle has no tables for changes (`python -m training changes`), or no detector")
    points = [OperatingPoint(Codec.RANS, device.manifest.widths, quality) for quality in qualities]
    splits = [_split(device, server, point, changes) for changes in (False, True) for point in points]
    images = [_image(detector, size, codec, level) for codec, levels in IMAGE_QUALITIES.items() for level in levels]
    streams = [_stream(detector, size, *kind, crf) for kind in STREAMS for crf in CRFS] if with_stream else []
    return [*splits, *images, *streams]


def _split(device: DeviceBundle, server: ServerBundle, point: OperatingPoint, changes: bool) -> Setting:
    name = "split against the last" if changes else "split alone"
    return Setting(name, str(point), lambda _: SplitVideo(device, server, point, changes))


def _image(detector: Detector, size: int, codec: Codec, level: int) -> Setting:
    return Setting(codec.value, f"q {level}", lambda _: ImageVideo(detector, size, codec, level))


def _stream(detector: Detector, size: int, encoder: str, preset: str, crf: int) -> Setting:
    name = f"{encoder.removeprefix('lib')} {preset}"
    return Setting(name, f"crf {crf}", lambda wh: StreamVideo(detector, size, VideoCodec(encoder, preset, crf, wh)))
