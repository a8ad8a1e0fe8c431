"""Frames to payloads through a real, if tiny, bundle."""

from __future__ import annotations

from itertools import count

import cv2
import numpy as np
import pytest

from edge_client.encoder_runtime import EncoderRuntime, load_encoder
from splitnet.bundle import load_device
from splitnet.errors import BundleError, ConfigError
from splitnet.letterbox import Letterbox
from splitnet.operating_point import Codec, OperatingPoint


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
