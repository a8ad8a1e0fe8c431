"""Augmented crops of images: what a training without labels sees."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE, PADDING_VALUE
from training.data.batch_stream import BatchStream
from training.data.images import MAX_MISSES, Image, read_image

MIN_SIDE = 64  # pixels; smaller images teach nothing
# Upright or not, and the short side's share of the long one: squares, 4:3 twice as often, portraits.
CANVASES = ((False, 1.0), (False, 0.75), (False, 0.75), (True, 0.75))
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropSpec:
    """How crops are cut."""

    square: int = 320  # side of the training square, pixels, a multiple of 32
    input_size: int = 416  # the detector's: an image that just fits it has scale 1
    min_scale: float = 0.6
    max_scale: float = 1.5
    max_enlargement: float = 1.25  # of an image's own pixels: small ones are not blown up
    stretches: bool = False  # an image of scale 1 fills the detector's square; else it fits its longer side into it

    def __post_init__(self) -> None:
        """Raise ConfigError on sizes that no crop can have."""
        check_square(self.square)
        if not 0 < self.min_scale <= self.max_scale or self.max_enlargement <= 0:
            raise ConfigError("the scales of crops must be positive, the smallest first")


def check_square(square: int) -> None:
    """Raise ConfigError unless a training square of this side, in pixels, fits every stage of a detector."""
    if square < 32 or square % 32:
        raise ConfigError(f"the training square has a side of {square}, must be a multiple of 32")


def crop(image: Image, spec: CropSpec, canvas: tuple[int, int], rng: np.random.Generator) -> Image:
    """Cut one augmented crop of `canvas` (height, width) out of a BGR image; grey where it does not reach."""
    height, width = image.shape[:2]
    drawn = np.exp(rng.uniform(np.log(spec.min_scale), np.log(spec.max_scale)))
    long = max(height, width)
    scale = min(drawn * spec.input_size / long, spec.max_enlargement)
    wide, high = (long, long) if spec.stretches else (width, height)
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    size = max(8, round(wide * scale * stretch)), max(8, round(high * scale / stretch))
    interpolation = cv2.INTER_AREA if rng.random() < 0.3 and scale < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
    if rng.random() < 0.5:
        resized = resized[:, ::-1]
    if rng.random() < 0.5:
        resized = _jitter(resized, rng)
    out = np.full((*canvas, 3), PADDING_VALUE, np.uint8)
    y = int(rng.integers(0, max(1, resized.shape[0] - canvas[0] + 1)))
    x = int(rng.integers(0, max(1, resized.shape[1] - canvas[1] + 1)))
    part = resized[y : y + canvas[0], x : x + canvas[1]]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def _jitter(image: Image, rng: np.random.Generator) -> Image:
    """Change contrast, brightness and white balance."""
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)
    shifted = (image.astype(np.float32) - 114) * gain.astype(np.float32) + np.float32(114 + rng.uniform(-25, 25))
    return np.asarray(shifted.clip(0, 255), np.uint8)


def canvas_shape(spec: CropSpec, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the part of the square that holds image, as frames of usual shapes leave it: (height, width).

    A few shapes only: a compiled network is compiled again for each.
    """
    upright, short_side = (False, 1.0) if spec.stretches else CANVASES[int(rng.integers(len(CANVASES)))]
    long, short = (max(1, round(spec.square * each / LATENT_STRIDE)) * LATENT_STRIDE for each in (1.0, short_side))
    return (long, short) if upright else (short, long)


def on_grey_square(batch: Image, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return crops (N, h, w, 3) as the canvas (N, 3, h, w) and on the square (N, 3, side, side), float32 0..255."""
    canvas = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()
    square = torch.full((len(batch), 3, side, side), float(PADDING_VALUE), device=device)
    square = square.to(memory_format=torch.channels_last)
    square[:, :, : canvas.shape[2], : canvas.shape[3]] = canvas
    return canvas, square


def on_whole_square(batch: Image, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return crops (N, h, w, 3) as the canvas (N, 3, h, w) and stretched to the square (N, 3, side, side), float32."""
    canvas = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()
    square = F.interpolate(canvas, size=(side, side), mode="bilinear", align_corners=False)
    return canvas, square.contiguous(memory_format=torch.channels_last)


class CropStream(BatchStream[Image]):
    """Batches (N, h, w, 3) uint8 of crops; every batch has one canvas shape. Unusable images are skipped, and said."""

    def __init__(
        self,
        images: Sequence[Path],
        spec: CropSpec,
        batch_size: int,
        seed: int | Sequence[int],
        threads: int = 2,
        first_step: int = 0,
    ) -> None:
        """Take images to draw from. ConfigError if there is nothing to do."""
        if min(len(images), batch_size) < 1:
            raise ConfigError(f"{len(images)} images, {batch_size} crops: too few")
        super().__init__(first_step, threads)
        self._images, self._spec, self._batch_size = images, spec, batch_size
        self._seed = (seed,) if isinstance(seed, int) else tuple(seed)
        self._skipped: set[Path] = set()

    def batch(self, step: int) -> Image:
        """Return the crops of a step. ConfigError if next to no image is of use."""
        rng = np.random.default_rng((*self._seed, step))
        canvas = canvas_shape(self._spec, rng)
        return np.stack([crop(self._draw(rng), self._spec, canvas, rng) for _ in range(self._batch_size)])

    def _draw(self, rng: np.random.Generator) -> Image:
        for _ in range(MAX_MISSES):
            path = self._images[int(rng.integers(len(self._images)))]
            image = read_image(path)
            if image is not None and min(image.shape[:2]) >= MIN_SIDE:
                return image
            if path not in self._skipped:
                self._skipped.add(path)
                log.warning("%s is unreadable or too small, skipped", path)
        raise ConfigError(f"{MAX_MISSES} images in a row are unreadable or under {MIN_SIDE} pixels a side")
