"""Images as JPEG or WebP, for the image mode: canvases that a device has fitted, and whole images of any size.

The door for strangers' bytes again: the size is read from the file's own header and checked before the
decoder sees the file.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.codec.image_bounds import ImageHeader, jpeg_header, webp_header
from splitnet.errors import BitstreamError, ConfigError
from splitnet.operating_point import Codec

MAX_COSTLY_PIXELS = 1 << 22  # of an image whose decoding takes several passes, or much memory
LARGE_PIXELS = 1 << 22  # a JPEG with more is scaled down while it is decoded
USUAL_SCANS = 16  # of a progressive JPEG, at most; with more, fewer pixels are taken

_EXTENSIONS = {Codec.JPEG: ".jpg", Codec.WEBP: ".webp"}
_QUALITY_FLAGS = {Codec.JPEG: cv2.IMWRITE_JPEG_QUALITY, Codec.WEBP: cv2.IMWRITE_WEBP_QUALITY}
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_HEADERS = {Codec.JPEG: jpeg_header, Codec.WEBP: webp_header}
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_PLAIN = {Codec.JPEG: "sequential JPEG in one scan", Codec.WEBP: "lossy WebP without extensions"}


def compress_image(canvas: NDArray[np.uint8], codec: Codec, quality: int) -> bytes:
    """Return a BGR image (H, W, 3) uint8 as a file; quality is the codec's own, 0 to 100."""
    if codec not in _EXTENSIONS:
        raise ConfigError(f"{codec.value} codes no images by themselves: choose jpeg or webp")
    try:
        _, data = cv2.imencode(_EXTENSIONS[codec], canvas, [_QUALITY_FLAGS[codec], quality])
    except cv2.error as error:
        raise ConfigError(f"cannot write a {canvas.shape} image as {codec.value}: {error.err}") from None
    return data.tobytes()


def decompress_image(data: bytes, codec: Codec, max_width: int, max_height: int) -> NDArray[np.uint8]:
    """Return the BGR image (H, W, 3) uint8 in a file of the given codec, as it is stored.

    Takes sequential JPEG in one scan and lossy WebP without extensions, which is what compress_image writes: one pass,
    so that its time is bounded by its size. Raises BitstreamError for anything else, and for images beyond the given
    size in pixels.
    """
    header = _header(data, codec)
    if not (1 <= header.width <= max_width and 1 <= header.height <= max_height):
        raise BitstreamError(
            f"the canvas is {header.width}x{header.height}, this bundle takes 1x1 to {max_width}x{max_height}: "
            "letterbox the image, or send it with whole_image"
        )
    if not header.is_plain:
        raise BitstreamError(f"a canvas is {_PLAIN[codec]}: write it so, or send the image with whole_image")
    return _decoded(data, codec, _AS_STORED, (header.height, header.width))


class WholeImage(NamedTuple):
    """An upright image, BGR (h, w, 3) uint8, which may be smaller than its file says: width and height."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decompress_whole_image(
    data: bytes, codec: Codec, max_pixels: int, max_side: int, square: int | None = None
) -> WholeImage:
    """Return the image in an ordinary file, a JPEG turned upright by its EXIF orientation.

    square: of pixels that it will be fitted into. A JPEG over LARGE_PIXELS then comes at a half or a quarter of its
    sides, with twice what the square needs: its cosines are scaled (libjpeg), so that it costs less time and memory.
    Takes baseline and progressive JPEG and still WebP. Raises BitstreamError for anything else, for images of more than
    max_pixels, or of more than max_side pixels a side, and for progressive and lossless ones over MAX_COSTLY_PIXELS.
    """
    header = _header(data, codec)
    width, height = header.width, header.height
    if not (1 <= width * height <= max_pixels and max(width, height) <= max_side):
        raise BitstreamError(
            f"the image is {width}x{height}, this server takes up to {max_pixels} pixels and {max_side} a side: "
            "scale it down first"
        )
    if not header.is_plain and width * height * max(1.0, header.scans / USUAL_SCANS) > MAX_COSTLY_PIXELS:
        raise BitstreamError(
            f"a progressive or lossless image of {width}x{height} takes too long to decode: up to {MAX_COSTLY_PIXELS} "
            "pixels are taken; scale it down, or send baseline JPEG"
        )
    if codec is not Codec.JPEG:
        return WholeImage(_decoded(data, codec, _AS_STORED, (height, width)), width, height)
    part = _part(width, height, square)
    sizes = [(-(-height // part), -(-width // part)), (-(-width // part), -(-height // part))]
    pixels = _decoded(data, codec, _REDUCED[part], *sizes)
    is_upright = pixels.shape[:2] == sizes[0]
    return WholeImage(pixels, *((width, height) if is_upright else (height, width)))


def _part(width: int, height: int, square: int | None) -> int:
    """Return by how much the sides of an image are divided when it is decoded: 1, 2 or 4."""
    fits = [part for part in (2, 4) if square is not None and max(width, height) >= 2 * part * square]
    enough = [part for part in (1, *fits) if width * height <= LARGE_PIXELS * part * part]
    return min(enough, default=max(fits, default=1))


def _header(data: bytes, codec: Codec) -> ImageHeader:
    if codec not in _HEADERS:
        raise BitstreamError(f"{codec.value} codes no images by themselves")
    return _HEADERS[codec](data)


def _decoded(data: bytes, codec: Codec, flags: int, *sizes: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image in a file. sizes: the heights and widths that it may have."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise BitstreamError(f"the {codec.value} image is damaged: {error.err}") from None
    if image is None or image.shape not in [(*size, 3) for size in sizes]:
        raise BitstreamError(f"the {codec.value} image is damaged")
    return np.asarray(image, np.uint8)
