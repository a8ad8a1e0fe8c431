"""Frames to payloads through a real, if tiny, bundle."""

from __future__ import annotations

from itertools import count

import cv2
import numpy as np
import pytest

from edge_client.encoding.backends import ONNXRUNTIME, TORCH
from edge_client.encoding.encoder import EncoderRuntime, load_encoder
from splitnet.bundle import load_device
from splitnet.errors import BundleError, ConfigError
from splitnet.letterbox import Letterbox
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE


@pytest.fixture(scope="module")
def encoder(tiny_bundle):
    return load_encoder(tiny_bundle, device="cpu", threads=1)


@pytest.mark.parametrize("codec", [Codec.RANS, Codec.ZSTD])
@pytest.mark.parametrize("width", [1, 4])
def test_the_payload_decodes_to_the_symbols_of_the_canvas(encoder, tiny_bundle, photo, codec, width):
    bundle = load_device(tiny_bundle)
    encoded = encoder.encode(photo, OperatingPoint(codec, width, 1))
    header, symbols = bundle.codec.decompress(encoded.payload)
    canvas = Letterbox.fit(640, 480, bundle.manifest.input_size).apply(photo)
    assert (header.width, header.quality) == (width, 1)
    assert (symbols == bundle.encoder.encode(canvas, width, 1)).all()


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.WEBP])
def test_in_image_mode_the_canvas_itself_travels(encoder, photo, codec):
    encoded = encoder.encode(photo, OperatingPoint(codec, 0, 60))
    sent = cv2.imdecode(np.frombuffer(encoded.payload, np.uint8), cv2.IMREAD_COLOR)
    assert sent.shape == (48, 64, 3)
    assert encoded.network_ms == 0.0


def test_the_steps_add_up(tiny_bundle, photo):
    ticks = count()  # the clock is read at the borders of three steps, a millisecond apart
    encoder = EncoderRuntime(load_device(tiny_bundle), clock=lambda: next(ticks) / 1000)
    encoded = encoder.encode(photo, OperatingPoint(Codec.RANS, 4, 2))
    steps = encoded.letterbox_ms, encoded.network_ms, encoded.entropy_ms
    assert steps == pytest.approx((1.0, 1.0, 1.0))
    assert encoded.encode_ms == pytest.approx(3.0)


@pytest.mark.parametrize("size", [(1, 1), (2000, 10), (10, 2000), (63, 65)])
def test_frames_of_any_size_are_encoded(encoder, size):
    frame = np.full((size[1], size[0], 3), 128, np.uint8)
    assert encoder.encode(frame, OperatingPoint(Codec.RANS, 2, 0)).payload


@pytest.mark.parametrize(("width", "quality"), [(5, 0), (1, 3)])
def test_a_point_outside_of_the_bundle_is_refused(encoder, width, quality):
    with pytest.raises(ConfigError, match=r"widths 1..4 and qualities 0..2"):
        encoder.check(OperatingPoint(Codec.RANS, width, quality))


def test_any_picture_quality_is_in_every_bundle(encoder):
    encoder.check(OperatingPoint(Codec.WEBP, 0, 100))


def test_cost_grows_with_the_width(encoder):
    costs = [encoder.mmacs(width, (640, 480)) for width in (1, 2, 3, 4)]
    assert costs == sorted(costs)
    assert costs[0] > 0


def test_a_missing_bundle_is_one_clear_error(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        load_encoder(tmp_path, device="cpu", threads=1)


def test_cuda_that_is_not_there_is_refused(tiny_bundle, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cpu"):
        load_encoder(tiny_bundle, device="cuda", threads=1)


def block_noise(side: int, block: int) -> np.ndarray:
    """Return squares of `block` pixels, each channel black or white: what costs this kind of network the most."""
    cells = -(-side // block)
    bits = np.random.default_rng(0).integers(0, 2, (cells, cells, 3), dtype=np.uint8) * 255
    return np.ascontiguousarray(bits.repeat(block, 0).repeat(block, 1)[:side, :side])


HOSTILE = {
    "one pixel": np.full((1, 1, 3), (9, 200, 30), np.uint8),
    "black": np.zeros((480, 640, 3), np.uint8),
    "white": np.full((480, 640, 3), 255, np.uint8),
    "a line": np.random.default_rng(0).integers(0, 256, (1, 16_000, 3), dtype=np.uint8),
    "a column": np.random.default_rng(0).integers(0, 256, (16_000, 1, 3), dtype=np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (416, 416, 3), dtype=np.uint8),
    "blocks of 4": block_noise(416, 4),
    "blocks of 8": block_noise(416, 8),
    "50 megapixels": np.broadcast_to(block_noise(100, 20), (100, 100, 3)).repeat(70, 0).repeat(72, 1),
}


@pytest.fixture(scope="module")
def bundled():
    return load_encoder(DEFAULT_BUNDLE, device="cpu", threads=1)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_picture_fails_or_exceeds_the_cap_of_its_point(bundled, name):
    codec = load_device(DEFAULT_BUNDLE).codec
    for width in (1, bundled.manifest.widths):
        for quality in (0, bundled.manifest.qualities - 1):
            asked = OperatingPoint(Codec.RANS, width, quality)
            encoded = bundled.encode(HOSTILE[name], asked)
            assert len(encoded.payload) <= bundled.byte_cap(asked)
            header, _ = codec.decompress(encoded.payload)
            assert (header.width, header.quality) == (encoded.point.width, encoded.point.quality)
            assert encoded.point.quality <= quality


def test_a_burst_is_reported_at_the_quality_that_it_came_down_to(bundled, monkeypatch):
    asked = OperatingPoint(Codec.RANS, bundled.manifest.widths, bundled.manifest.qualities - 1)
    codec = bundled._bundle.codec
    monkeypatch.setattr(codec, "_caps", codec._caps // 4)  # below what any picture needs at the finest quality
    assert bundled.encode(HOSTILE["blocks of 8"], asked).point.quality < asked.quality


def test_a_smaller_picture_has_a_smaller_cap(bundled):
    sides = bundled.manifest.sides
    caps = [bundled.byte_cap(OperatingPoint(Codec.RANS, width, 5)) for width in range(1, len(sides) + 1)]
    assert caps == sorted(caps)
    assert caps[0] < caps[-1] / 2


def test_a_photograph_is_never_made_coarser(bundled, photo):
    manifest = bundled.manifest
    for quality in range(manifest.qualities):
        point = OperatingPoint(Codec.RANS, manifest.widths, quality)
        encoded = bundled.encode(photo, point)
        assert encoded.point == point
        assert len(encoded.payload) < 0.8 * bundled.byte_cap(point)


def test_pictures_have_no_cap(encoder):
    assert encoder.byte_cap(OperatingPoint(Codec.JPEG, 0, 50)) is None


def test_onnx_runtime_gives_the_same_payload_on_request(tiny_bundle, encoder, photo):
    pytest.importorskip("onnxruntime")
    point = OperatingPoint(Codec.RANS, 2, 1)
    other = load_encoder(tiny_bundle, device="cpu", threads=1, backend=ONNXRUNTIME)
    assert (encoder.backend, other.backend) == (TORCH, ONNXRUNTIME)
    codec = load_device(tiny_bundle).codec
    ours, theirs = (codec.decompress(one.encode(photo, point).payload)[1] for one in (encoder, other))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.02
