"""Headers of image files: the sizes that real encoders write, and bounds on what hostile files claim."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from splitnet.codec.image_bounds import MAX_SCANS, MAX_SEGMENTS, ImageHeader, jpeg_header, webp_header
from splitnet.errors import BitstreamError

IMAGE = np.full((48, 64, 3), 90, np.uint8)
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)


def file_of(extension: str, *flags: int, image: np.ndarray = IMAGE) -> bytes:
    return cv2.imencode(extension, image, list(flags))[1].tobytes()


def extended(flags: int = 0, width: int = 64, height: int = 48) -> bytes:
    """Return a lossy WebP with a VP8X chunk in front, as cameras and web tools write them."""
    lossy = file_of(".webp", cv2.IMWRITE_WEBP_QUALITY, 50)[12:]
    chunk = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + len(chunk).to_bytes(4, "little") + chunk + lossy
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(("flags", "is_plain"), [((), True), (PROGRESSIVE, False)], ids=["sequential", "progressive"])
def test_a_jpegs_size_is_read(flags, is_plain):
    found = jpeg_header(file_of(".jpg", *flags))
    assert found == ImageHeader(64, 48, is_plain, scans=found.scans)
    assert (found.scans == 1) == is_plain


@pytest.mark.parametrize(
    ("data", "is_plain"),
    [(file_of(".webp", cv2.IMWRITE_WEBP_QUALITY, 50), True), (file_of(".webp", *LOSSLESS), False), (extended(), False)],
    ids=["lossy", "lossless", "extended"],
)
def test_a_webps_size_is_read(data, is_plain):
    assert webp_header(data) == ImageHeader(64, 48, is_plain)


def test_an_animated_webp_is_refused():
    with pytest.raises(BitstreamError, match="animated: send a still image"):
        webp_header(extended(flags=0x02))


@pytest.mark.parametrize("marker", [0xC3, 0xC9, 0xCA], ids=["lossless", "arithmetic", "arithmetic progressive"])
def test_rare_kinds_of_jpeg_are_refused(marker):
    data = file_of(".jpg")
    with pytest.raises(BitstreamError, match="of a rare kind"):
        jpeg_header(data.replace(b"\xff\xc0", bytes([0xFF, marker]), 1))


def test_a_jpeg_of_a_quarter_million_empty_segments_is_given_up_early():
    data = file_of(".jpg")
    bomb = data[:2] + b"\xff\xfe\x00\x02" * 261_000 + data[2:]
    with pytest.raises(BitstreamError, match=f"over {MAX_SEGMENTS} segments"):
        jpeg_header(bomb)


def test_a_jpeg_of_many_passes_is_refused():
    data = file_of(".jpg", *PROGRESSIVE)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(BitstreamError, match=f"over {MAX_SCANS} scans"):
        jpeg_header(data[:-2] + scan * MAX_SCANS + data[-2:])


@pytest.mark.parametrize("data", [file_of(".jpg"), file_of(".jpg", *PROGRESSIVE)], ids=["sequential", "progressive"])
def test_every_truncation_before_the_first_scan_of_a_jpeg_is_refused(data):
    for length in range(data.index(b"\xff\xda") + 4):
        with pytest.raises(BitstreamError):
            jpeg_header(data[:length])


@pytest.mark.parametrize("data", [file_of(".webp", *LOSSLESS), extended()], ids=["lossless", "extended"])
def test_every_truncation_of_a_webps_header_is_refused(data):
    for length in range(30):
        with pytest.raises(BitstreamError, match="not a WebP"):
            webp_header(data[:length])
