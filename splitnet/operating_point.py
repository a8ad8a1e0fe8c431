"""Operating points: what the device chooses for each frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from splitnet.errors import ConfigError

H264_QUALITY_MAX = 51  # a constant rate factor of 0: lossless, or nearly


class Mode(str, Enum):
    """How a frame is turned into detections."""

    SPLIT = "split"  # encoder on the device, detector on the server
    IMAGE = "image"  # the image itself is sent, the server runs the whole detector
    LOCAL = "local"  # the device runs the whole detector, nothing is sent
    SKIP = "skip"  # nobody looks at this frame


class Codec(str, Enum):
    """How the bytes of a payload are made. The last two stand for no payload: nothing is sent."""

    RANS = "rans"  # symbols of the latent, table-driven rANS
    ZSTD = "zstd"  # the same symbols, Zstandard: the fall-back codec
    JPEG = "jpeg"
    WEBP = "webp"
    H264 = "h264"  # a picture of the session's video stream
    LOCAL = "local"
    SKIP = "skip"

    @property
    def mode(self) -> Mode:
        """The mode that this codec belongs to."""
        return _MODES[self]

    @property
    def is_sent(self) -> bool:
        """Whether there is a payload for the server at all."""
        return self.mode in (Mode.SPLIT, Mode.IMAGE)


_MODES = {
    Codec.RANS: Mode.SPLIT,
    Codec.ZSTD: Mode.SPLIT,
    Codec.JPEG: Mode.IMAGE,
    Codec.WEBP: Mode.IMAGE,
    Codec.H264: Mode.IMAGE,
    Codec.LOCAL: Mode.LOCAL,
    Codec.SKIP: Mode.SKIP,
}


@dataclass(frozen=True)
class OperatingPoint:
    """One choice of computation and rate.

    In split mode `width` is how much the device computes, in the bundle's own steps (1 is the cheapest), and `quality`
    indexes the bundle's gains (0 is the fewest bytes). In image mode `quality` is the image codec's own
    (0 to 100; of H.264 51 less its constant rate factor) and `width` is 0. Where nothing is sent both are 0: see
    `LOCAL` and `SKIP`.
    """

    codec: Codec
    width: int
    quality: int

    def __post_init__(self) -> None:
        """Raise ConfigError if the fields contradict one another."""
        if self.mode is Mode.SPLIT and not (1 <= self.width <= 255 and 0 <= self.quality <= 255):
            raise ConfigError(f"split mode needs width 1..255 and quality 0..255, not {self.width}, {self.quality}")
        if self.mode is Mode.IMAGE and not (self.width == 0 and 0 <= self.quality <= 100):
            raise ConfigError(f"image mode needs width 0 and quality 0..100, not {self.width}, {self.quality}")
        if self.codec is Codec.H264 and self.quality > H264_QUALITY_MAX:
            raise ConfigError(f"H.264 has qualities 0..{H264_QUALITY_MAX}, not {self.quality}")
        if not self.is_sent and (self.width or self.quality):
            raise ConfigError(f"{self.mode.value} mode needs width 0 and quality 0, not {self.width}, {self.quality}")

    @property
    def mode(self) -> Mode:
        """The mode, which follows from the codec."""
        return self.codec.mode

    @property
    def is_sent(self) -> bool:
        """Whether a frame at this point has a payload for the server."""
        return self.codec.is_sent

    def __str__(self) -> str:
        """Return the form shown in tables: "w4 q2", "jpeg 30", "local"."""
        if self.codec is Codec.RANS:
            return f"w{self.width} q{self.quality}"
        if self.codec is Codec.ZSTD:
            return f"w{self.width} q{self.quality} zstd"
        return f"{self.codec.value} {self.quality}" if self.is_sent else self.codec.value


LOCAL = OperatingPoint(Codec.LOCAL, 0, 0)
SKIP = OperatingPoint(Codec.SKIP, 0, 0)

_SPLIT_POINT = re.compile("w([0-9]{1,3}) q([0-9]{1,3})( zstd)?")
_IMAGE_POINT = re.compile("(jpeg|webp|h264) ([0-9]{1,3})")


def parse_point(text: str) -> OperatingPoint:
    """Return the operating point written as in the tables: "w4 q2", "w4 q2 zstd", "jpeg 30", "local"."""
    if match := _SPLIT_POINT.fullmatch(text.strip()):
        codec = Codec.ZSTD if match[3] else Codec.RANS
        return OperatingPoint(codec, int(match[1]), int(match[2]))
    if match := _IMAGE_POINT.fullmatch(text.strip()):
        return OperatingPoint(Codec(match[1]), 0, int(match[2]))
    for point in (LOCAL, SKIP):
        if text.strip() == str(point):
            return point
    raise ConfigError(f'{text!r} is not an operating point; write "w4 q2", "w4 q2 zstd", "jpeg 30" or "local"')


def parse_points(text: str) -> tuple[OperatingPoint, ...]:
    """Return the operating points of a comma-separated list."""
    return tuple(parse_point(part) for part in text.split(","))
