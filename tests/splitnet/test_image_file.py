"""Image files, good and bad: what their header claims, and what is decoded."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from splitnet.errors import ImageFileError
from splitnet.image_file import decode_image, images_in, read_image
from splitnet.image_header import image_size

PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
CLIP = b"\x00\x00\x00\x18ftypmp42" + b"\xff\xd8\xff\xda" + bytes(200_000)  # behind a phone's motion photo


def shaded(width: int = 37, height: int = 23) -> np.ndarray:
    rng = np.random.default_rng(1)
    return cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), (0, 0), 2)


def encoded(suffix: str, image: np.ndarray | None = None, flags: list[int] | None = None) -> bytes:
    return cv2.imencode(suffix, shaded() if image is None else image, flags or [])[1].tobytes()


def with_thumbnail(jpeg: bytes) -> bytes:
    """Put a whole JPEG into an APP1 segment, as cameras do with EXIF."""
    segment = b"Exif\x00\x00" + encoded(".jpg", shaded(8, 8))
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def claiming(width: int, height: int) -> bytes:
    """Return a small PNG whose header claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


KINDS = {
    "JPEG": encoded(".jpg"),
    "progressive JPEG with restarts": encoded(".jpg", flags=PROGRESSIVE),
    "JPEG with a thumbnail": with_thumbnail(encoded(".jpg")),
    "JPEG with fill bytes": encoded(".jpg").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "motion photo": encoded(".jpg") + CLIP,
    "PNG": encoded(".png"),
    "16-bit PNG": encoded(".png", shaded().astype(np.uint16) * 257),
    "lossy WebP": encoded(".webp", flags=[cv2.IMWRITE_WEBP_QUALITY, 80]),
    "lossless WebP": encoded(".webp"),
    "WebP with alpha": encoded(".webp", np.dstack([shaded(), shaded()[..., 0]]), [cv2.IMWRITE_WEBP_QUALITY, 80]),
    "BMP": encoded(".bmp"),
    "TIFF": encoded(".tif"),
}


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_the_header_claims_what_is_decoded(data):
    assert image_size(data) == (37, 23)
    assert decode_image(data).shape == (23, 37, 3)


def test_other_headers_that_the_library_does_not_write_are_read_too():
    core_bmp = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 640, 480, 1, 24)
    assert image_size(core_bmp) == (640, 480)
    upside_down = b"BM" + bytes(12) + struct.pack("<Iii", 40, 640, -480)
    assert image_size(upside_down) == (640, 480)
    entries = [struct.pack(">HHIHxx", 256, 3, 1, 640), struct.pack(">HHII", 257, 4, 1, 480)]
    assert image_size(b"MM\x00\x2a" + struct.pack(">IH", 8, 2) + b"".join(entries)) == (640, 480)
    large = [struct.pack("<HHQQ", tag, 4, 1, side) for tag, side in ((256, 640), (257, 480))]
    assert image_size(b"II\x2b\x00" + struct.pack("<HHQQ", 8, 0, 16, 2) + b"".join(large)) == (640, 480)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("BMP", "TIFF", "motion photo")])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(kind, share):
    data = KINDS[kind]
    with pytest.raises(ImageFileError):
        decode_image(data[: int(len(data) * share)])


def test_a_jpeg_cut_behind_its_whole_thumbnail_is_refused():
    photo = with_thumbnail(encoded(".jpg", shaded(400, 300)))
    with pytest.raises(ImageFileError, match="the JPEG file is truncated"):
        decode_image(photo[: len(photo) * 6 // 10])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "lossy WebP", "BMP", "TIFF"])
def test_every_byte_changed_gives_an_image_or_the_one_error(kind):
    data = bytearray(KINDS[kind])
    for position in range(min(len(data), 700)):
        changed = bytes([*data[:position], data[position] ^ 0xFF, *data[position + 1 :]])
        with suppress(ImageFileError):
            assert decode_image(changed, max_pixels=100_000).dtype == np.uint8


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (0, 5), (10_001, 10_000)])
def test_what_claims_too_many_pixels_or_none_is_not_decoded(width, height, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageFileError, match=f"{width}x{height} pixels"):
        decode_image(claiming(width, height))


def test_the_name_of_a_file_may_be_any_bytes(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.write_bytes(KINDS["JPEG"])
    assert read_image(path).shape == (23, 37, 3)


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a" + bytes(50), b"\xff\xd8\xff", b"RIFF....WEBP", b"BM", b"II\x2a\x00"]
)
def test_what_is_no_image_says_so(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageFileError):
        read_image(path)


def test_a_file_that_is_not_there_or_too_large_says_so(tmp_path, monkeypatch):
    with pytest.raises(ImageFileError, match="No such file"):
        read_image(tmp_path / "missing.jpg")
    monkeypatch.setattr("splitnet.image_file.MAX_FILE_BYTES", 5)
    (tmp_path / "large.jpg").write_bytes(KINDS["JPEG"])
    with pytest.raises(ImageFileError, match="over"):
        read_image(tmp_path / "large.jpg")


def test_a_folder_s_images_come_in_the_order_of_the_numbers_in_their_names(tmp_path):
    for name in ("b.png", "10.jpg", "9.JPG", "a2-10.png", "a2-9.png", "a02-9.png", "notes.txt", "09.jpg"):
        (tmp_path / name).touch()
    names = [path.name for path in images_in(tmp_path)]
    assert names == ["9.JPG", "09.jpg", "10.jpg", "a02-9.png", "a2-9.png", "a2-10.png", "b.png"]
