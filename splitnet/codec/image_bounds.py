"""Bounds of a peer's JPEG or WebP file, read from its header before any decoder sees it. Pure.

A hostile file may claim any size, hold a hundred thousand empty segments, or order a pass over the image with every few
bytes. All of that is bounded here, in time that does not depend on the claim.
"""

from __future__ import annotations

from dataclasses import dataclass

from splitnet.errors import BitstreamError
from splitnet.image_header import jpeg_segment, lossy_webp_size

MAX_SEGMENTS = 1024  # before the first scan of a JPEG; an ICC profile and a long EXIF take some dozens
MAX_SCANS = 64  # of a progressive JPEG, thumbnails included: encoders write about ten

# JPEG markers (ITU-T T.81, table B.1)
_SOI = b"\xff\xd8"
_SEQUENTIAL = (0xC0, 0xC1)
_PROGRESSIVE = 0xC2
_SOS = 0xDA
_SKIPPED = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, restart interval, comment, application

# WebP chunks (RFC 9649)
_LOSSY, _LOSSLESS, _EXTENDED = b"VP8 ", b"VP8L", b"VP8X"
_ANIMATED = 0x02
_LOSSLESS_SIGNATURE = 0x2F


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says of itself."""

    width: int
    height: int
    is_plain: bool  # sequential JPEG in one scan, lossy WebP without extensions: decoded in one pass
    scans: int = 1


def jpeg_header(data: bytes) -> ImageHeader:
    """Return the header of a JPEG file, walking its segments up to the first scan. Raises BitstreamError."""
    if data[:2] != _SOI:
        raise BitstreamError("the payload is not a JPEG file")
    header, components, position = None, 0, 2
    for _ in range(MAX_SEGMENTS):
        marker, segment = jpeg_segment(data, position)
        position += 4 + len(segment)
        if marker in (*_SEQUENTIAL, _PROGRESSIVE) and header is None and len(segment) >= 6 and segment[0] == 8:
            width, height = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
            header, components = ImageHeader(width, height, marker in _SEQUENTIAL), segment[5]
        elif marker == _SOS and header is not None:
            one_scan = segment[:1] == bytes([components])
            return ImageHeader(header.width, header.height, header.is_plain and one_scan, _scans(data))
        elif marker not in _SKIPPED:
            raise BitstreamError("the JPEG file is damaged or of a rare kind: send baseline or progressive JPEG")
    raise BitstreamError(f"the JPEG file has over {MAX_SEGMENTS} segments before its image: write it again")


def _scans(data: bytes) -> int:
    """Return how often a decoder passes over the image. Coded data never holds a marker (T.81, section B.1.1.5)."""
    scans = data.count(bytes([0xFF, _SOS]))
    if scans > MAX_SCANS:
        raise BitstreamError(f"the JPEG file has over {MAX_SCANS} scans: write it again with fewer")
    return scans


def webp_header(data: bytes) -> ImageHeader:
    """Return the header of a WebP file (RFC 9649). Raises BitstreamError."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        raise BitstreamError("the payload is not a WebP file")
    chunk = data[12:16]
    if chunk == _LOSSY:
        return ImageHeader(*lossy_webp_size(data, 12), is_plain=True)
    if chunk == _LOSSLESS and data[20] == _LOSSLESS_SIGNATURE:
        bits = _little(data[21:25])
        return ImageHeader(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), is_plain=False)
    if chunk == _EXTENDED and not data[20] & _ANIMATED:
        return ImageHeader(1 + _little(data[24:27]), 1 + _little(data[27:30]), is_plain=False)
    raise BitstreamError("the WebP file is damaged or animated: send a still image")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
