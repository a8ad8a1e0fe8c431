import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.codec import image_codec
from splitnet.codec.image_codec import compress_image, decompress_image, decompress_whole_image
from splitnet.errors import BitstreamError, ConfigError
from splitnet.operating_point import Codec

CODECS = (Codec.JPEG, Codec.WEBP)


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Return a smooth coloured picture, BGR uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 2 + 40, columns * 2 + 20, (rows + columns) + 30], axis=2).clip(0, 255).astype(np.uint8)


def file_of(extension: str, image: np.ndarray, *flags: int) -> bytes:
    return cv2.imencode(extension, image, list(flags))[1].tobytes()


@pytest.mark.parametrize("codec", CODECS)
def test_a_photo_comes_back_alike(photo, codec):
    canvas = photo[:416, :416]
    data = compress_image(canvas, codec, 90)
    decoded = decompress_image(data, codec, 416, 416)
    assert decoded.shape == canvas.shape and decoded.dtype == np.uint8
    assert cv2.PSNR(canvas, decoded) > 30


@pytest.mark.parametrize("codec", CODECS)
def test_a_higher_quality_takes_more_bytes(photo, codec):
    sizes = [len(compress_image(photo, codec, quality)) for quality in (0, 20, 60, 100)]
    assert sizes == sorted(set(sizes))


@settings(max_examples=30)
@given(st.sampled_from(CODECS), st.integers(1, 80), st.integers(1, 80), st.integers(0, 100))
def test_any_size_and_quality_round_trips(codec, height, width, quality):
    data = compress_image(picture(height, width), codec, quality)
    assert decompress_image(data, codec, width, height).shape == (height, width, 3)


@pytest.mark.parametrize("codec", CODECS)
def test_the_size_is_bounded_before_decoding(codec, monkeypatch):
    data = compress_image(picture(48, 64), codec, 50)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded a picture that is too large"))
    for max_width, max_height in [(63, 48), (64, 47), (1, 1)]:
        with pytest.raises(BitstreamError, match="64x48, this bundle takes"):
            decompress_image(data, codec, max_width, max_height)


def test_a_jpeg_that_claims_a_huge_size_is_refused():
    data = bytearray(compress_image(picture(), Codec.JPEG, 50))
    position = data.index(b"\xff\xc0") + 5
    data[position : position + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(BitstreamError, match="65535x65535"):
        decompress_image(bytes(data), Codec.JPEG, 416, 416)


def test_a_webp_that_claims_a_huge_size_is_refused():
    data = bytearray(compress_image(picture(), Codec.WEBP, 50))
    data[26:30] = b"\xff\xff\xff\xff"
    with pytest.raises(BitstreamError, match="16383x16383"):
        decompress_image(bytes(data), Codec.WEBP, 416, 416)


def test_a_progressive_jpeg_is_refused():
    data = file_of(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    with pytest.raises(BitstreamError, match="sequential JPEG"):
        decompress_image(data, Codec.JPEG, 416, 416)


def test_a_lossless_webp_is_refused():
    data = file_of(".webp", picture(), cv2.IMWRITE_WEBP_QUALITY, 101)
    with pytest.raises(BitstreamError, match="a canvas is lossy WebP"):
        decompress_image(data, Codec.WEBP, 416, 416)


def on_its_side(image: np.ndarray) -> bytes:
    """Return a JPEG whose EXIF says that it must be turned by 90 degrees clockwise."""
    data = compress_image(image, Codec.JPEG, 90)
    # Big-endian TIFF with one entry: tag 0x0112 (orientation), SHORT, one value, 6
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]


def test_a_canvas_is_taken_as_it_is_stored_and_a_whole_image_upright():
    image = picture(48, 64)
    canvas = decompress_image(on_its_side(image), Codec.JPEG, 64, 48)
    upright = decompress_whole_image(on_its_side(image), Codec.JPEG, 64 * 48, 64)
    assert (upright.width, upright.height) == (48, 64)
    assert canvas.shape == (48, 64, 3)
    np.testing.assert_array_equal(upright.pixels, np.rot90(canvas, -1))


@pytest.mark.parametrize(
    ("codec", "flags"),
    [
        (Codec.JPEG, ()),
        (Codec.JPEG, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        (Codec.JPEG, (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)),
        (Codec.WEBP, (cv2.IMWRITE_WEBP_QUALITY, 101)),
        (Codec.WEBP, (cv2.IMWRITE_WEBP_QUALITY, 90)),
    ],
    ids=["sequential", "progressive", "4:4:4", "lossless", "lossy"],
)
def test_a_whole_image_may_be_of_any_usual_kind(codec, flags):
    image = picture(150, 200)
    decoded = decompress_whole_image(file_of(f".{codec.value}", image, *flags), codec, 200 * 150, 200).pixels
    assert decoded.shape == image.shape and cv2.PSNR(image, decoded) > 30


@pytest.mark.parametrize(
    ("width", "height", "square", "part"),
    [(90, 41, 8, 2), (90, 41, 45, 1), (41, 90, 8, 2), (200, 150, 8, 4), (200, 150, 26, 2), (90, 41, None, 1)],
)
def test_a_large_jpeg_is_scaled_down_as_far_as_its_square_allows(width, height, square, part, monkeypatch):
    monkeypatch.setattr(image_codec, "LARGE_PIXELS", 2000)
    image = cv2.GaussianBlur(picture(height, width), (0, 0), 8)
    data = compress_image(image, Codec.JPEG, 95)
    decoded, *size = decompress_whole_image(data, Codec.JPEG, 1 << 20, 1000, square)
    assert size == [width, height]
    assert decoded.shape == (-(-height // part), -(-width // part), 3)
    small = cv2.resize(image, decoded.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(small, decoded) > 30


def test_a_large_jpeg_on_its_side_is_scaled_down_upright(monkeypatch):
    monkeypatch.setattr(image_codec, "LARGE_PIXELS", 1000)
    decoded, width, height = decompress_whole_image(on_its_side(picture(48, 64)), Codec.JPEG, 64 * 48, 64, 8)
    assert (width, height) == (48, 64) and decoded.shape == (32, 24, 3)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("max_pixels", "max_side"), [(64 * 48 - 1, 64), (64 * 48, 63)])
def test_a_whole_image_is_bounded_before_decoding(codec, max_pixels, max_side, monkeypatch):
    data = compress_image(picture(48, 64), codec, 50)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded an image that is too large"))
    with pytest.raises(BitstreamError, match=r"64x48, this server takes up to .*scale it down"):
        decompress_whole_image(data, codec, max_pixels, max_side)


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_whole_image_is_refused_or_stays_within_bounds(codec):
    flags = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if codec is Codec.JPEG else (cv2.IMWRITE_WEBP_QUALITY, 101)
    data = file_of(f".{codec.value}", picture(16, 24), *flags)
    for position in range(len(data)):
        damaged = data[:position] + bytes([data[position] ^ 0x80]) + data[position + 1 :]
        for file in (damaged, data[:position]):
            try:
                image = decompress_whole_image(file, codec, 1000, 100).pixels
            except BitstreamError:
                continue
            assert image.dtype == np.uint8 and image.shape[0] * image.shape[1] <= 1000


def test_a_grey_jpeg_becomes_bgr():
    data = file_of(".jpg", picture()[:, :, 0])
    assert decompress_image(data, Codec.JPEG, 64, 48).shape == (48, 64, 3)


@pytest.mark.parametrize("codec", CODECS)
def test_the_other_codecs_file_is_refused(codec):
    other = Codec.WEBP if codec is Codec.JPEG else Codec.JPEG
    with pytest.raises(BitstreamError, match="payload is not"):
        decompress_image(compress_image(picture(), other, 50), codec, 416, 416)


@pytest.mark.parametrize("codec", CODECS)
def test_every_truncated_header_is_refused(codec):
    data = compress_image(picture(), codec, 20)
    for length in range(30):
        with pytest.raises(BitstreamError):
            decompress_image(data[:length], codec, 416, 416)


@pytest.mark.parametrize("codec", CODECS)
def test_truncations_and_changed_bytes_are_refused_or_stay_within_bounds(codec):
    data = compress_image(picture(16, 24), codec, 10)
    damaged = [data[:length] for length in range(len(data))]
    for position in range(len(data)):
        for change in (0x01, 0x80, 0xFF):
            damaged.append(data[:position] + bytes([data[position] ^ change]) + data[position + 1 :])
    for file in damaged:
        try:
            canvas = decompress_image(file, codec, 32, 32)
        except BitstreamError:
            continue
        assert canvas.dtype == np.uint8 and max(canvas.shape) <= 32


@settings(max_examples=200)
@given(st.sampled_from(CODECS), st.binary(max_size=80))
def test_random_bytes_are_refused(codec, tail):
    for data in (tail, b"\xff\xd8" + tail, b"RIFF\0\0\0\0WEBPVP8 " + tail):
        with pytest.raises(BitstreamError):
            decompress_image(data, codec, 64, 64)


def test_a_picture_that_cannot_be_written_is_named():
    with pytest.raises(ConfigError, match="cannot write"):
        compress_image(np.zeros((0, 0, 3), np.uint8), Codec.JPEG, 50)


def test_a_feature_codec_writes_no_pictures():
    with pytest.raises(ConfigError, match="choose jpeg or webp"):
        compress_image(picture(), Codec.RANS, 50)
    with pytest.raises(BitstreamError, match="codes no images"):
        decompress_image(b"", Codec.ZSTD, 64, 64)
