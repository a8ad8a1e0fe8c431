"""The size that an image file claims, from its header alone, and whether the file is whole. Pure.

JPEG (ITU-T T.81), PNG, WebP (RFC 9649), BMP and TIFF 6.0, BigTIFF included. Whatever follows the image in its file is
not looked at: phones append clips to photos.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from splitnet.errors import ImageFileError

MAX_IMAGE_PIXELS = 1 << 24  # of a whole image on the wire: 48 MiB while it is decoded

Size = tuple[int, int]  # width, height in pixels

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the other three are tables and extensions
_SOS, _EOI = 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD8)}  # JPEG markers without a segment
_AFTER_SCAN = re.compile(
    rb"\xff+[^\x00\xff\xd0-\xd7]"
)  # a marker that ends entropy-coded data: no stuffing, no restart
_FILL = re.compile(rb"\xff+")
_BMP_CORE_HEADER = 12  # bytes, of OS/2: sides of 16 bits
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_SHORT = 3
_MAX_TIFF_TAGS = 4096


def image_size(data: bytes) -> Size:
    """Return the size that a whole file claims, before any EXIF rotation.

    Raises ImageFileError if it is of another kind, damaged, or, for JPEG, PNG and WebP, truncated.
    """
    for magic, size in _KINDS.items():
        if re.match(magic, data, re.DOTALL):
            width, height = size(data)
            if not (width > 0 and height > 0):
                raise ImageFileError(f"its header claims {width}x{height} pixels")
            return width, height
    raise ImageFileError("neither JPEG, PNG, WebP, BMP nor TIFF")


def jpeg_segment(data: bytes, position: int) -> tuple[int, bytes]:
    """Return the marker at a position and the content of its segment, which takes 4 bytes more in the file."""
    head = data[position : position + 4]
    length = int.from_bytes(head[2:4], "big")
    if len(head) < 4 or head[0] != 0xFF or length < 2 or position + 2 + length > len(data):
        raise ImageFileError("the JPEG file is truncated or damaged")
    return head[1], data[position + 4 : position + 2 + length]


def lossy_webp_size(data: bytes, chunk: int) -> Size:
    """Return the size in a VP8 chunk that begins at a position (key frame header: RFC 6386, section 9.1)."""
    head = data[chunk + 8 : chunk + 18]
    if len(head) < 10 or head[0] & 1 or head[3:6] != b"\x9d\x01\x2a":
        raise ImageFileError("the WebP file is damaged")
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def _jpeg(data: bytes) -> Size:
    """Walk segments and scans up to the end of the image: that of a thumbnail lies inside a segment."""
    size, position = (0, 0), 2
    while True:
        position = _filled(data, position)
        marker = data[position + 1] if data[position : position + 1] == b"\xff" and position + 1 < len(data) else None
        if marker == _EOI:
            return size
        if marker in _ALONE:
            position += 2
            continue
        marker, segment = jpeg_segment(data, position)
        position += 4 + len(segment)
        if marker in _FRAMES and len(segment) >= 5:
            size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
        elif marker == _SOS:
            position = _end_of_scan(data, position)


def _filled(data: bytes, position: int) -> int:
    """Return where the last byte of those that may fill the room before a marker is."""
    found = _FILL.match(data, position)
    return found.end() - 1 if found else position


def _end_of_scan(data: bytes, position: int) -> int:
    found = _AFTER_SCAN.search(data, position)
    if found is None:
        raise ImageFileError("the JPEG file is truncated")
    return found.end() - 2


def _png(data: bytes) -> Size:
    position = 8
    while (kind := data[position + 4 : position + 8]) != b"IEND":
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if len(kind) < 4 or position > len(data):
            raise ImageFileError("the PNG file is truncated")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _webp(data: bytes) -> Size:
    if len(data) < 30 or 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise ImageFileError("the WebP file is truncated")
    kind = data[12:16]
    if kind == b"VP8 ":
        return lossy_webp_size(data, 12)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    raise ImageFileError("the WebP file is damaged")


def _bmp(data: bytes) -> Size:
    head = data[14:26]
    if len(head) < 12:
        raise ImageFileError("the BMP file is truncated")
    if int.from_bytes(head[:4], "little") == _BMP_CORE_HEADER:
        return int.from_bytes(head[4:6], "little"), int.from_bytes(head[6:8], "little")
    height = int.from_bytes(head[8:12], "little", signed=True)  # negative: from the top
    return int.from_bytes(head[4:8], "little", signed=True), abs(height)


def _tiff(data: bytes) -> Size:
    """Read the first directory; its entries are a tag, a type, a count and a value."""
    order = "little" if data[:2] == b"II" else "big"

    def number(start: int, count: int) -> int:
        if start + count > len(data):
            raise ImageFileError("the TIFF file is truncated or damaged")
        return int.from_bytes(data[start : start + count], order)  # type: ignore[arg-type]

    big = number(2, 2) == 43
    directory = number(8, 8) if big else number(4, 4)
    counted, entry, value_at = (8, 20, 12) if big else (2, 12, 8)
    sides: dict[int, int] = {}
    for index in range(min(number(directory, counted), _MAX_TIFF_TAGS)):
        start = directory + counted + entry * index
        length = 2 if number(start + 2, 2) == _TIFF_SHORT else 4
        sides[number(start, 2)] = number(start + value_at, length)
    return sides.get(_TIFF_WIDTH, 0), sides.get(_TIFF_HEIGHT, 0)


_KINDS: dict[bytes, Callable[[bytes], Size]] = {
    rb"\xff\xd8\xff": _jpeg,
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"RIFF....WEBP": _webp,
    rb"BM": _bmp,
    rb"II\x2a\x00|MM\x00\x2a|II\x2b\x00|MM\x00\x2b": _tiff,
}
