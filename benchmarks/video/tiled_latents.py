"""Latents tiled into grey frames and sent through a video codec: MPEG's feature coding (FCM, ISO/IEC 23888-4) in small.

Every channel is a tile. LEVELS grey levels are one step of a quality's quantiser, so channels keep the weights that
training has given them, and the codec decides what is left out. What lies beyond the grey levels is cut off.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.video.eyes import Canvas, Eyes
from benchmarks.video.video_codec import VideoCodec
from splitnet.bundle import DeviceBundle
from splitnet.detections import Detections
from splitnet.letterbox import LATENT_STRIDE

LEVELS = 4  # of grey for a step
_MIDDLE, _REACH = 128, 127 // LEVELS
_SMALLEST = 64  # pixels a side: x265 takes none that are much smaller


class TiledVideo:
    """The latent of every frame as a grey frame of a stream."""

    def __init__(self, device: DeviceBundle, eyes: Eyes, codec: str, preset: str, crf: int, quality: int) -> None:
        """Take the codec's settings (`VideoCodec`), and the bundle's quality whose step is one grey level."""
        self._device, self._eyes, self._quality = device, eyes, quality
        self._width = device.manifest.widths
        self._box = eyes.split_box(self._width)
        positions = self._box.canvas_height // LATENT_STRIDE, self._box.canvas_width // LATENT_STRIDE
        self._shape = device.manifest.latent_channels, *positions
        height, width = frame_sides(self._shape)
        self._codec = VideoCodec(codec, preset, crf, (width, height))

    def fit(self, frame: Canvas) -> Canvas:
        """Fit a frame onto the canvas of the full width."""
        return self._box.apply(frame)

    def encode(self, canvas: Canvas) -> bytes:
        """Encode the next frame's latent."""
        latent = self._eyes.latent(self._device, canvas, self._width)
        symbols = self._device.encoder.quantise(latent, self._width, self._quality)
        return self._codec.encode_grey(tiled(symbols))

    def receive(self, payload: bytes) -> NDArray[np.int16]:
        """Decode it to symbols (C, h, w)."""
        return untiled(self._codec.decode_grey(payload), self._shape)

    @torch.inference_mode()
    def look(self, received: NDArray[np.int16]) -> Detections:
        """Complete the detection."""
        return self._eyes.symbols(received, self._width, self._quality)


def tile_grid(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return rows and columns of tiles for a latent (C, h, w), so that the frame is about square."""
    channels, height, width = shape
    columns = max(1, min(channels, round((channels * height / width) ** 0.5)))
    return -(-channels // columns), columns


def frame_sides(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width, both even, of the frame that holds the tiles of a latent (C, h, w)."""
    rows, columns = tile_grid(shape)
    height, width = (max(_SMALLEST, side + side % 2) for side in (rows * shape[1], columns * shape[2]))
    return height, width


def tiled(symbols: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Return symbols (C, h, w) as a grey frame with even sides; what is no tile is zero's grey."""
    channels, height, width = shape = symbols.shape
    rows, columns = tile_grid(shape)
    padded = np.zeros((rows * columns, height, width), np.int16)
    padded[:channels] = LEVELS * np.clip(symbols, -_REACH, _REACH)
    grey = padded.reshape(rows, columns, height, width).transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    rest = [(0, side - own) for side, own in zip(frame_sides(shape), grey.shape, strict=True)]
    return np.asarray(np.pad(grey, rest) + _MIDDLE, np.uint8)


def untiled(frame: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Return the symbols (C, h, w) of a grey frame."""
    channels, height, width = shape
    rows, columns = tile_grid(shape)
    levels = frame[: rows * height, : columns * width].astype(float) - _MIDDLE
    grey = np.rint(levels / LEVELS).astype(np.int16)
    tiles = grey.reshape(rows, height, columns, width).transpose(0, 2, 1, 3).reshape(rows * columns, height, width)
    return np.ascontiguousarray(tiles[:channels])
