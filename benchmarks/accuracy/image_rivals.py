"""The rivals of features: the image, with the codecs' best settings, at several sizes.

Kinder to them than life: the image is scaled from the frame straight to the size that travels, and has no padding. The
server scales it up again to what the detector takes. The detector is the bundle's, trained to mind compression less,
unless the benchmark is told otherwise.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from benchmarks.harness.images import Image
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.nn.detector import Detector
from training.evaluation.systems import InSquare


@dataclass(frozen=True)
class Setting:
    """A codec with settings, and at which qualities it is measured for each size.

    sizes: the longer side of what travels as a share of the detector's, then the codec's qualities, 0 to 100.
    """

    name: str
    codec: str
    compress: Callable[[Image, int], bytes]
    sizes: Mapping[float, tuple[int, ...]]


def _jpeg(image: Image, quality: int) -> bytes:
    return _opencv(image, cv2.IMWRITE_JPEG_QUALITY, quality)


def _jpeg_progressive(image: Image, quality: int) -> bytes:
    """Compress with scans and Huffman tables made for this image: what is smallest."""
    best = (cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    return _opencv(image, cv2.IMWRITE_JPEG_QUALITY, quality, *best)


def _jpeg_444(image: Image, quality: int) -> bytes:
    """Compress as `_jpeg_progressive`, but with all of the colour: bytes that a detector may or may not repay."""
    whole = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    best = (cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    return _opencv(image, cv2.IMWRITE_JPEG_QUALITY, quality, *best, *whole)


def _opencv(image: Image, *parameters: int) -> bytes:
    return cv2.imencode(".jpg", image, parameters)[1].tobytes()


def _pillow(file_format: str, **settings: Any) -> Callable[[Image, int], bytes]:
    """Return how Pillow compresses; it takes RGB, and that conversion counts like any other."""
    from PIL import Image as PillowImage

    def compress(image: Image, quality: int) -> bytes:
        file = io.BytesIO()
        PillowImage.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).save(
            file, file_format, quality=quality, **settings
        )
        return file.getvalue()

    return compress


def _decoded(payload: bytes) -> Image:
    from PIL import Image as PillowImage

    with PillowImage.open(io.BytesIO(payload)) as file:
        return np.asarray(cv2.cvtColor(np.asarray(file.convert("RGB")), cv2.COLOR_RGB2BGR), np.uint8)


# Of the detector's side: 320, 256 and 208 of 416 pixels.
FULL, THREE_QUARTERS, FIVE_EIGHTHS, HALF = 1.0, 10 / 13, 8 / 13, 0.5


def settings() -> tuple[Setting, ...]:
    """Return every setting that is measured. ConfigError if Pillow is missing or cannot write AVIF."""
    try:
        from PIL import features
    except ImportError as error:
        raise ConfigError("the rivals need Pillow: install the extra [train]") from error
    if not features.check("avif"):
        raise ConfigError("this Pillow cannot write AVIF: install 11.3 or later from PyPI's wheel")
    return (
        Setting("jpeg", "jpeg", _jpeg, {FULL: (10, 30, 75)}),
        Setting(
            "jpeg progressive",
            "jpeg",
            _jpeg_progressive,
            {
                FULL: (5, 10, 15, 20, 30, 50, 75),
                THREE_QUARTERS: (10, 20, 40),
                FIVE_EIGHTHS: (12, 25, 50),
                HALF: (15, 40),
            },
        ),
        Setting("jpeg progressive 4:4:4", "jpeg", _jpeg_444, {FULL: (10, 30)}),
        Setting("webp method 0", "webp", _pillow("WEBP", method=0), {FULL: (5, 40)}),
        Setting("webp", "webp", _pillow("WEBP", method=4), {FULL: (5, 40)}),
        Setting(
            "webp method 6",
            "webp",
            _pillow("WEBP", method=6),
            {FULL: (0, 2, 5, 10, 20, 40, 60), THREE_QUARTERS: (0, 5, 20), FIVE_EIGHTHS: (0, 8, 30), HALF: (2, 25)},
        ),
        Setting(
            "avif speed 8",
            "avif",
            _pillow("AVIF", speed=8, max_threads=1),
            {
                FULL: (5, 10, 15, 20, 30, 40, 50),
                THREE_QUARTERS: (10, 22, 35),
                FIVE_EIGHTHS: (10, 25, 40),
                HALF: (15, 35),
            },
        ),
        Setting("avif speed 10", "avif", _pillow("AVIF", speed=10, max_threads=1), {FULL: (10, 40)}),
        Setting("avif speed 6", "avif", _pillow("AVIF", speed=6, max_threads=1), {FULL: (10, 25, 45)}),
    )


@dataclass(frozen=True)
class ImageRival(InSquare):
    """An image codec at one quality and size, and a whole detector behind it (`training.evaluation.systems`)."""

    detector: Detector
    input_size: int
    setting: Setting
    share: float  # of the detector's side
    quality: int

    @property
    def size(self) -> int:
        """The longer side of what travels, in pixels."""
        return round(self.share * self.input_size)

    def compress(self, frame: Image, box: Letterbox) -> bytes:
        """Scale and compress; at full size the detector's own way of scaling, averaging below that."""
        interpolation = cv2.INTER_LINEAR if self.size == self.input_size else cv2.INTER_AREA
        return self.setting.compress(scaled(frame, self.size, interpolation), self.quality)

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Decompress, scale up to what the detector takes, and run it."""
        image = _decoded(payload)
        size = box.image_width, box.image_height
        if size != (image.shape[1], image.shape[0]):
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        return self.raw_of(image)


def scaled(frame: Image, size: int, interpolation: int = cv2.INTER_AREA) -> Image:
    """Return a frame whose longer side is `size` pixels."""
    box = Letterbox.fit(frame.shape[1], frame.shape[0], size)
    return np.asarray(cv2.resize(frame, (box.image_width, box.image_height), interpolation=interpolation), np.uint8)


def rivals(detector: Detector, input_size: int) -> list[ImageRival]:
    """Return every rival behind a detector."""
    return [
        ImageRival(detector, input_size, setting, share, quality)
        for setting in settings()
        for share, qualities in setting.sizes.items()
        for quality in qualities
    ]
