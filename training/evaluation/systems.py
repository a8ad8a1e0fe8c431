"""Ways from a frame to detections that are measured against one another, each with a device's and a server's part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle import DeviceBundle, ServerBundle
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.letterbox import Letterbox
from splitnet.nn.detector import Detector
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import Mode, OperatingPoint


class System(Protocol):
    """One way from a frame to raw predictions."""

    @property
    def detector_name(self) -> str:
        """The detector whose raw predictions they are."""
        ...

    @property
    def input_size(self) -> int:
        """Side of the square that frames are fitted into, pixels."""
        ...

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Do all that the device does with a BGR frame (H, W, 3): the payload."""
        ...

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Do what the server does with the payload of the last `compress`: raw predictions (1, A, ...)."""
        ...


@runtime_checkable
class Repeatable(Protocol):
    """A system whose detections follow from its payload, the frame's size and the bundle's weights alone."""

    part: str  # of the server: systems of the same part answer the same payload alike


@dataclass(frozen=True)
class SplitSystem:
    """An operating point of a bundle's two halves."""

    device: DeviceBundle
    server: ServerBundle
    point: OperatingPoint
    part: str = "half"

    @property
    def detector_name(self) -> str:
        """The detector that the bundle was split from."""
        return self.server.manifest.detector

    @property
    def input_size(self) -> int:
        """Side of the square that frames are fitted into, pixels: a width may have its own."""
        return self.device.manifest.side(self.point.width)

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox, encode, write the bitstream."""
        symbols = self.device.encoder.encode(box.apply(frame), self.point.width, self.point.quality)
        return self.device.codec.compress(symbols, self.point.width, self.point.quality, self.point.codec)

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Read the bitstream and go on behind the split point."""
        header, symbols = self.server.codec.decompress(payload)
        raw: Tensor = self.server.half(self.server.half.dequantise(symbols, header.width, header.quality)[None])
        return raw


@dataclass(frozen=True)
class ImageSystem:
    """An operating point of the `image` mode."""

    detector: Detector
    input_size: int
    point: OperatingPoint
    part: str = "detector"

    @property
    def detector_name(self) -> str:
        """The detector that sees the image."""
        return self.detector.name

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox and compress."""
        return compress_image(box.apply(frame), self.point.codec, self.point.quality)

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Decompress and run the whole detector."""
        canvas = decompress_image(payload, self.point.codec, self.input_size, self.input_size)
        raw: Tensor = self.detector(image_input(canvas, self.input_size)[None])
        return raw


@dataclass
class LocalSystem:
    """The whole detector on the device, on the uncompressed image; nothing travels."""

    detector: Detector
    input_size: int
    _raw: Tensor = field(default_factory=lambda: torch.zeros(0), init=False, repr=False)

    @property
    def detector_name(self) -> str:
        """The detector that the device runs."""
        return self.detector.name

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox and run the whole detector, up to raw predictions."""
        self._raw = self.detector(image_input(box.apply(frame), self.input_size)[None])
        return b""

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Return what the device has found."""
        return self._raw


def system_of(device: DeviceBundle, server: ServerBundle, point: OperatingPoint) -> System:
    """Return an operating point of a bundle, LOCAL included; but for split mode it must have its unsplit detector."""
    if point.mode is Mode.SPLIT:
        return SplitSystem(device, server, point)
    assert server.detector is not None
    if point.mode is Mode.LOCAL:
        return LocalSystem(server.detector, server.manifest.input_size)
    return ImageSystem(server.detector, server.manifest.input_size, point)
