"""Ways from a frame to detections that are measured against one another, each with a device's and a server's part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle import DeviceBundle, ServerBundle, load_local_detector
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.letterbox import Letterbox
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import Detector, Size
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import LOCAL, Mode, OperatingPoint


class System(Protocol):
    """One way from a frame to raw predictions."""

    @property
    def detector_name(self) -> str:
        """The detector whose raw predictions they are."""
        ...

    def fit(self, frame_width: int, frame_height: int) -> Letterbox:
        """Return where a frame lies in what is computed."""
        ...

    def seen(self, box: Letterbox) -> Size:
        """Return the sides of what the detector sees, for which its raw predictions are."""
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

    def fit(self, frame_width: int, frame_height: int) -> Letterbox:
        """Fit a frame into the square of the width."""
        return self.device.manifest.fit(frame_width, frame_height, self.point.width)

    def seen(self, box: Letterbox) -> Size:
        """Return both sides of the detector's square: a canvas lies in it as it is."""
        size = self.server.manifest.input_size
        return size, size

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox, encode, write the bitstream."""
        symbols = self.device.encoder.encode(box.apply(frame), self.point.width, self.point.quality)
        return self.device.codec.compress(symbols, self.point.width, self.point.quality, self.point.codec)

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Read the bitstream and go on behind the split point."""
        header, symbols = self.server.codec.decompress(payload)
        raw: Tensor = self.server.half(self.server.half.dequantise(symbols, header.width, header.quality)[None])
        return raw


class InSquare:
    """What systems have in common whose whole detector sees images that were fitted into its square."""

    detector: Detector
    input_size: int  # pixels a side of the square

    @property
    def detector_name(self) -> str:
        """The detector that sees the image."""
        return self.detector.name

    def fit(self, frame_width: int, frame_height: int) -> Letterbox:
        """Fit a frame into the detector's square."""
        return Letterbox.fit(frame_width, frame_height, self.input_size)

    def seen(self, box: Letterbox) -> Size:
        """Return the side of the detector's square."""
        return self.input_size

    def raw_of(self, canvas: NDArray[np.uint8]) -> Tensor:
        """Return the raw predictions (1, A, ...) for a BGR canvas (H, W, 3)."""
        raw: Tensor = self.detector(image_input(canvas, self.input_size, fills(self.detector))[None])
        return raw


@dataclass(frozen=True)
class ImageSystem(InSquare):
    """An operating point of the `image` mode."""

    detector: Detector
    input_size: int
    point: OperatingPoint
    part: str = "detector"

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox and compress."""
        return compress_image(box.apply(frame), self.point.codec, self.point.quality)

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Decompress and run the whole detector."""
        return self.raw_of(decompress_image(payload, self.point.codec, self.input_size, self.input_size))


@dataclass
class UnsplitSystem(InSquare):
    """The whole detector on the uncompressed image in its square; nothing travels."""

    detector: Detector
    input_size: int
    _raw: Tensor = field(default_factory=lambda: torch.zeros(0), init=False, repr=False)

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox and run the whole detector, up to raw predictions."""
        self._raw = self.raw_of(box.apply(frame))
        return b""

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Return what the device has found."""
        return self._raw


class LocalSystem(UnsplitSystem):
    """The detector that a device runs alone, on the canvas as the device does; nothing travels."""

    def fit(self, frame_width: int, frame_height: int) -> Letterbox:
        """Fit a frame onto a canvas that the detector's coarsest level divides, or that is to be stretched."""
        if fills(self.detector):
            return Letterbox.fit(frame_width, frame_height, self.input_size)
        multiple = architecture_of(self.detector.name).canvas_multiple(self.input_size)
        return Letterbox.fit(frame_width, frame_height, self.input_size, multiple)

    def seen(self, box: Letterbox) -> Size:
        """Return the sides of the canvas, or of the square that it is stretched to."""
        return self.input_size if fills(self.detector) else (box.canvas_height, box.canvas_width)

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox and run the detector, up to raw predictions."""
        canvas = box.apply(frame)
        if fills(self.detector):
            image = image_input(canvas, self.input_size, fills=True)
        else:
            image = torch.from_numpy(canvas).permute(2, 0, 1).float()
        self._raw = self.detector(image[None])
        return b""


def fills(detector: Detector) -> bool:
    """Return whether a detector wants images stretched to its square."""
    return architecture_of(detector.name).fills


def system_of(device: DeviceBundle, server: ServerBundle, point: OperatingPoint) -> System:
    """Return an operating point of a bundle, LOCAL included. What it needs must be there, see `served`."""
    if point.mode is Mode.SPLIT:
        return SplitSystem(device, server, point)
    if point == LOCAL:
        local = local_system(device)
        assert local is not None
        return local
    assert server.detector is not None
    return ImageSystem(server.detector, server.manifest.input_size, point)


def local_system(device: DeviceBundle) -> LocalSystem | None:
    """Return what a bundle's device runs alone; None if there is no such detector. BundleError if it is damaged."""
    local, detector = device.manifest.local_detector, load_local_detector(device.folder, device.manifest)
    return None if local is None or detector is None else LocalSystem(detector, local.input_size)
