"""Pictures as JPEG or WebP, for the image mode.

The door for strangers' bytes again: the size is read from the file's own header and checked before the
decoder sees the file, and the parser is stricter than the decoder, so that both mean the same picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import BitstreamError, ConfigError
from splitnet.image_header import jpeg_segment, lossy_webp_size
from splitnet.operating_point import Codec, Mode

_EXTENSIONS = {Codec.JPEG: ".jpg", Codec.WEBP: ".webp"}
_QUALITY_FLAGS = {Codec.JPEG: cv2.IMWRITE_JPEG_QUALITY, Codec.WEBP: cv2.IMWRITE_WEBP_QUALITY}
_DECODE_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

# JPEG markers (ITU-T T.81, table B.1)
_SOI = b"\xff\xd8"
_SOF = (0xC0, 0xC1)  # sequential Huffman: one pass over the picture, so time is bounded by its size
_SOS = 0xDA
_SKIPPED = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, restart interval, comment, application


def compress_image(canvas: NDArray[np.uint8], codec: Codec, quality: int) -> bytes:
    """Return a BGR picture (H, W, 3) uint8 as a file; quality is the codec's own, 0 to 100."""
    if codec.mode is not Mode.IMAGE:
        raise ConfigError(f"{codec.value} codes no pictures: choose jpeg or webp")
    try:
        _, data = cv2.imencode(_EXTENSIONS[codec], canvas, [_QUALITY_FLAGS[codec], quality])
    except cv2.error as error:
        raise ConfigError(f"cannot write a {canvas.shape} picture as {codec.value}: {error.err}") from None
    return data.tobytes()


def decompress_image(data: bytes, codec: Codec, max_width: int, max_height: int) -> NDArray[np.uint8]:
    """Return the BGR picture (H, W, 3) uint8 in a file of the given codec.

    Takes sequential JPEG in one scan and lossy WebP without extensions, which is what compress_image writes.
    Raise BitstreamError for anything else, and for pictures beyond the given size in pixels.
    """
    if codec.mode is not Mode.IMAGE:
        raise BitstreamError(f"{codec.value} codes no pictures")
    width, height = _jpeg_size(data) if codec is Codec.JPEG else _webp_size(data)
    if not (1 <= width <= max_width and 1 <= height <= max_height):
        raise BitstreamError(
            f"the picture is {width}x{height}, this bundle takes 1x1 to {max_width}x{max_height}: letterbox it first"
        )
    try:
        canvas = cv2.imdecode(np.frombuffer(data, np.uint8), _DECODE_FLAGS)
    except cv2.error as error:
        raise BitstreamError(f"the {codec.value} picture is damaged: {error.err}") from None
    if canvas is None or canvas.shape != (height, width, 3):
        raise BitstreamError(f"the {codec.value} picture is damaged")
    return np.asarray(canvas, np.uint8)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG file, walking its segments up to the first scan."""
    if data[:2] != _SOI:
        raise BitstreamError("the payload is not a JPEG file")
    size, components, position = (0, 0), 0, 2
    while True:
        marker, segment = jpeg_segment(data, position)
        position += 4 + len(segment)
        if marker in _SOF and not components and len(segment) >= 6 and segment[0] == 8:
            size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
            components = segment[5]
        elif marker == _SOS and components and segment[:1] == bytes([components]):
            return size
        elif marker not in _SKIPPED:
            raise BitstreamError("the JPEG file is damaged or not baseline: send sequential JPEG in one scan")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a lossy WebP file (RFC 9649)."""
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8 " or len(data) < 30:
        raise BitstreamError("the payload is not a lossy WebP file without extensions")
    return lossy_webp_size(data, 12)
