"""The frames of a YUV4MPEG2 stream: each header says how large the frames after it are. Pure.

ffmpeg writes it (`-f yuv4mpegpipe`), and so does GStreamer (`y4menc`). Taken are 8 bits with colours halved both ways
(4:2:0). A writer whose frames change their size writes a new header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np

from edge_client.capture.camera import DEFAULT_FPS
from edge_client.frames import Image
from splitnet.errors import SourceError
from splitnet.image_file import MAX_PIXELS
from splitnet.messages import MAX_FRAME_SIDE

MAGIC, FRAME = b"YUV4MPEG2", b"FRAME"
MAX_LINE_BYTES = 256  # of a header, or of what stands before a frame
_COLOURS = re.compile("420(jpeg|mpeg2|paldv)?")


@dataclass(frozen=True)
class Y4mHeader:
    """What a header says."""

    width: int
    height: int
    fps: float

    @property
    def frame_bytes(self) -> int:
        """The bytes of a frame: full brightness, and two planes of colour at half the sides, rounded up."""
        return self.width * self.height + 2 * ((self.width + 1) // 2) * ((self.height + 1) // 2)


def parse_header(line: bytes) -> Y4mHeader:
    """Return what a header line says. Raises SourceError if frames like that are not taken."""
    words = line.decode("ascii", "replace").split()
    given = {word[0]: word[1:] for word in reversed(words[1:])}
    if not words or words[0] != MAGIC.decode():
        raise SourceError("what it writes are no frames (YUV4MPEG2)")
    if not _COLOURS.fullmatch(given.get("C", "420")):
        raise SourceError(f"frames of {given['C'][:20]} are not taken: 8 bits and 4:2:0 are")
    width, height = _number(given.get("W", "")), _number(given.get("H", ""))
    if not (0 < max(width, height) <= MAX_FRAME_SIDE and 0 < width * height <= MAX_PIXELS):
        raise SourceError(f"frames of {width}x{height} pixels are not taken")
    return Y4mHeader(width, height, _rate(given.get("F", "")))


def to_bgr(planes: bytearray, header: Y4mHeader) -> Image:
    """Return a frame's planes as an image (H, W, 3) uint8 BGR."""
    width, height = header.width, header.height
    data = np.frombuffer(planes, np.uint8)
    if width % 2 or height % 2:
        data, width, height = _with_even_sides(data, width, height)
    image = cv2.cvtColor(data.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420)
    return np.asarray(image[: header.height, : header.width], np.uint8)


def _with_even_sides(data: np.ndarray, width: int, height: int) -> tuple[np.ndarray, int, int]:
    """Return the planes of a frame to which the last column or row is added once more, and its size."""
    bright = data[: width * height].reshape(height, width)
    padded = np.pad(bright, ((0, height % 2), (0, width % 2)), mode="edge")
    return np.concatenate((padded.reshape(-1), data[width * height :])), padded.shape[1], padded.shape[0]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 0


def _rate(text: str) -> float:
    over, _, under = text.partition(":")
    rate = _number(over) / _number(under) if _number(under) else 0.0
    return rate if 0 < rate < 1000 else DEFAULT_FPS
