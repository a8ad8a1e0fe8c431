"""A bundle's server half as the engine's model: payloads in, detections in pixels of the frame out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle import ServerBundle
from splitnet.codec.image_codec import decompress_image
from splitnet.detections import Detections
from splitnet.errors import BitstreamError, ConfigError
from splitnet.letterbox import LATENT_STRIDE, Letterbox
from splitnet.messages import Frame
from splitnet.nn.boxes import detections_from_raw
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import Codec, Mode, OperatingPoint


@dataclass(frozen=True)
class DecodedFrame:
    """What a payload held, and where the picture lies in the detector's square."""

    data: NDArray[Any]  # split: symbols (C, h, w) int16; image: canvas (H, W, 3) uint8
    point: OperatingPoint
    letterbox: Letterbox


class BundleModel:
    """Runs a bundle. `decode` may be called on any thread, the rest on the engine's only."""

    def __init__(self, bundle: ServerBundle, device: torch.device, threads: int = 0) -> None:
        """Take a loaded bundle, the device to run on, and the CPU threads of a batch (0: torch's choice)."""
        self._bundle = bundle
        self._device = device
        self._threads = threads
        self._input_size = bundle.manifest.input_size

    def warm_up(self, max_batch_size: int) -> None:
        """Move the networks to the device and run the smallest and the largest batch of each kind."""
        if self._threads:
            torch.set_num_threads(self._threads)
        self._bundle.codec.warm_up()
        self._bundle.half.to(self._device)
        if self._bundle.detector is not None:
            self._bundle.detector.to(self._device)
        kinds = [Mode.SPLIT] if self._bundle.detector is None else [Mode.SPLIT, Mode.IMAGE]
        for kind in kinds:
            for size in {1, max_batch_size}:
                self.infer(kind, [self._blank(kind)] * size)

    def decode(self, frame: Frame) -> DecodedFrame:
        """Undo the entropy or picture coding. Raises BitstreamError."""
        letterbox = Letterbox.fit(frame.frame_width, frame.frame_height, self._input_size)
        decode = self._symbols if frame.operating_point.mode is Mode.SPLIT else self._canvas
        return DecodedFrame(decode(frame, letterbox), frame.operating_point, letterbox)

    @torch.inference_mode()
    def infer(self, kind: Mode, batch: Sequence[DecodedFrame]) -> list[Detections]:
        """Return the detections of each frame of one kind."""
        raw = self._split(batch) if kind is Mode.SPLIT else self._image(batch)
        found = detections_from_raw(raw, self._input_size)
        return [_to_frame(one, frame.letterbox) for one, frame in zip(found, batch, strict=True)]

    def _split(self, batch: Sequence[DecodedFrame]) -> Tensor:
        half = self._bundle.half
        latents = [half.dequantise(frame.data, frame.point.width, frame.point.quality) for frame in batch]
        raw: Tensor = half(torch.stack(latents))
        return raw

    def _image(self, batch: Sequence[DecodedFrame]) -> Tensor:
        assert self._bundle.detector is not None, "decode refuses pictures without a detector"
        images = torch.stack([image_input(frame.data, self._input_size) for frame in batch])
        raw: Tensor = self._bundle.detector(images.to(self._device))
        return raw

    def _symbols(self, frame: Frame, letterbox: Letterbox) -> NDArray[np.int16]:
        header, symbols = self._bundle.codec.decompress(frame.payload)
        sent = (header.codec, header.width, header.quality)
        point = frame.operating_point
        if sent != (point.codec, point.width, point.quality):
            inside = OperatingPoint(*sent)
            raise BitstreamError(f"the frame says {point}, its bitstream {inside}: send what you encoded")
        height, width = letterbox.canvas_height // LATENT_STRIDE, letterbox.canvas_width // LATENT_STRIDE
        _check_shape(frame, symbols.shape, (self._bundle.manifest.latent_channels, height, width))
        return symbols

    def _canvas(self, frame: Frame, letterbox: Letterbox) -> NDArray[np.uint8]:
        if self._bundle.detector is None:
            name = self._bundle.manifest.name
            raise BitstreamError(f"bundle {name} has no detector for pictures: use a split operating point")
        codec = frame.operating_point.codec
        canvas = decompress_image(frame.payload, codec, self._input_size, self._input_size)
        _check_shape(frame, canvas.shape, (letterbox.canvas_height, letterbox.canvas_width, 3))
        return canvas

    def _blank(self, kind: Mode) -> DecodedFrame:
        manifest = self._bundle.manifest
        size = self._input_size
        letterbox = Letterbox.fit(size, size, size)
        if kind is Mode.IMAGE:
            return DecodedFrame(np.zeros((size, size, 3), np.uint8), OperatingPoint(Codec.JPEG, 0, 0), letterbox)
        cells = size // LATENT_STRIDE
        symbols = np.zeros((manifest.latent_channels, cells, cells), np.int16)
        return DecodedFrame(symbols, OperatingPoint(Codec.RANS, 1, 0), letterbox)


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda". Raises ConfigError if there is no CUDA device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is usable here: install a CUDA build of torch, or use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _check_shape(frame: Frame, actual: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if actual != expected:
        raise BitstreamError(
            f"the payload has shape {actual}, but a frame of {frame.frame_width}x{frame.frame_height} pixels "
            f"gives {expected} in this bundle: check the frame's size"
        )


def _to_frame(detections: Detections, letterbox: Letterbox) -> Detections:
    boxes = letterbox.boxes_to_frame(detections.boxes)
    return Detections(boxes, detections.scores, detections.labels)
