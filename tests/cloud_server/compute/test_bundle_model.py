"""A bundle as the engine's model: real bitstreams and pictures in, boxes in pixels of the frame out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cloud_server.compute.bundle_model import BundleModel, choose_device
from cloud_server.compute.onnx_module import is_installed
from cloud_server.compute.tuning import Tuning
from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.codec.h264 import H264Encoder
from splitnet.codec.image_codec import compress_image
from splitnet.codec.references import ReferenceStore
from splitnet.errors import BitstreamError, ConfigError
from splitnet.letterbox import Letterbox
from splitnet.messages import Frame
from splitnet.nn.yolox.architecture import YOLOXArchitecture
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.tiny_bundle import INPUT_SIZE, QUALITIES, WIDTHS, write_tiny_bundle

SPLIT_POINTS = [OperatingPoint(Codec.RANS, 1, 0), OperatingPoint(Codec.RANS, WIDTHS, QUALITIES - 1)]
PICTURES = [OperatingPoint(Codec.JPEG, 0, 80), OperatingPoint(Codec.WEBP, 0, 80)]

MODES = {Mode.SPLIT: SPLIT_POINTS, Mode.IMAGE: PICTURES}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> ServerBundle:
    return load_server(tiny_bundle)


@pytest.fixture(scope="module")
def model(bundle: ServerBundle) -> BundleModel:
    return BundleModel(bundle, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _keep_every_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the threshold: a network with random weights is never sure."""
    monkeypatch.setattr(YOLOXArchitecture.detections, "__defaults__", (0.0,))


def encoded(device: DeviceBundle, photo: np.ndarray, point: OperatingPoint) -> Frame:
    height, width = photo.shape[:2]
    canvas = Letterbox.fit(width, height, INPUT_SIZE).apply(photo)
    if point.mode is Mode.IMAGE:
        payload = compress_image(canvas, point.codec, point.quality)
    else:
        symbols = device.encoder.encode(canvas, point.width, point.quality)
        payload = device.codec.compress(symbols, point.width, point.quality, point.codec)
    return Frame(1, 0, point, payload, width, height)


@pytest.mark.parametrize("point", [*SPLIT_POINTS, OperatingPoint(Codec.ZSTD, 2, 1), *PICTURES], ids=str)
def test_every_operating_point_gives_boxes_inside_the_frame(model, device, photo, point):
    decoded = model.decode(encoded(device, photo, point))
    (found,) = model.infer(point.mode, [decoded])
    assert len(found) > 0
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 0::2] <= 640).all() and (found.boxes[:, 1::2] <= 480).all()
    assert found.boxes[:, 2].max() > INPUT_SIZE  # pixels of the frame, not of the square


@pytest.mark.parametrize("mode", list(MODES))
def test_a_frame_in_a_batch_gets_what_it_gets_alone(model, device, photo, mode):
    points = MODES[mode]
    batch = [
        model.decode(encoded(device, picture, point))
        for picture, point in ((photo, points[0]), (photo[:, :300], points[1]), (photo[:100], points[0]))
    ]
    together = model.infer(mode, batch)
    for one, found in zip(batch, together, strict=True):
        (alone,) = model.infer(mode, [one])
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
        assert found.boxes.shape == alone.boxes.shape


def test_the_symbols_of_the_device_arrive_unchanged(model, device, photo):
    point = SPLIT_POINTS[1]
    canvas = Letterbox.fit(640, 480, INPUT_SIZE).apply(photo)
    decoded = model.decode(encoded(device, photo, point))
    np.testing.assert_array_equal(decoded.data, device.encoder.encode(canvas, point.width, point.quality))


@pytest.mark.parametrize("point", [SPLIT_POINTS[1], PICTURES[0], PICTURES[1]], ids=str)
def test_a_truncated_payload_is_refused_or_decoded_but_never_breaks(model, device, photo, point):
    frame = encoded(device, photo, point)
    for length in range(len(frame.payload)):
        truncated = replace(frame, payload=frame.payload[:length])
        if point.mode is Mode.SPLIT:
            with pytest.raises(BitstreamError):
                model.decode(truncated)
        else:
            decode_or_refuse(model, truncated)


@pytest.mark.parametrize("point", [SPLIT_POINTS[1], PICTURES[0], PICTURES[1]], ids=str)
def test_a_flipped_byte_is_refused_or_decoded_but_never_breaks(model, device, photo, point):
    frame = encoded(device, photo, point)
    for position in range(len(frame.payload)):
        payload = bytearray(frame.payload)
        payload[position] ^= 0xFF
        decode_or_refuse(model, replace(frame, payload=bytes(payload)))


@contextmanager
def threads_kept() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def decode_or_refuse(model: BundleModel, frame: Frame) -> None:
    try:
        decoded = model.decode(frame)
    except BitstreamError:
        return
    assert decoded.data.size <= 3 * INPUT_SIZE * INPUT_SIZE


@pytest.mark.parametrize(
    "claimed",
    [OperatingPoint(Codec.RANS, 2, 2), OperatingPoint(Codec.RANS, 4, 1), OperatingPoint(Codec.ZSTD, 4, 2)],
    ids=["width", "quality", "codec"],
)
def test_an_operating_point_that_is_not_the_bitstreams_is_refused(model, device, photo, claimed):
    frame = encoded(device, photo, SPLIT_POINTS[1])
    with pytest.raises(BitstreamError, match=r"the frame says .*, its bitstream w4 q2"):
        model.decode(replace(frame, operating_point=claimed))


@pytest.mark.parametrize("point", [SPLIT_POINTS[1], PICTURES[0]], ids=str)
def test_a_frame_size_that_does_not_fit_the_payload_is_refused(model, device, photo, point):
    frame = encoded(device, photo, point)
    with pytest.raises(BitstreamError, match="a frame of 480x640 pixels gives"):
        model.decode(replace(frame, frame_width=480, frame_height=640))


def test_a_bitstream_of_another_bundle_is_refused(model, photo, tmp_path):
    write_tiny_bundle(tmp_path, seed=1)
    frame = encoded(load_device(tmp_path), photo, SPLIT_POINTS[0])
    with pytest.raises(BitstreamError, match="bundle"):
        model.decode(frame)


def test_a_picture_said_to_be_of_another_codec_is_refused(model, device, photo):
    frame = encoded(device, photo, PICTURES[0])
    with pytest.raises(BitstreamError):
        model.decode(replace(frame, operating_point=PICTURES[1]))


def test_a_bundle_without_detector_refuses_images(bundle, device, photo):
    model = BundleModel(replace(bundle, detector=None), torch.device("cpu"))
    canvas = encoded(device, photo, PICTURES[0])
    for frame in (canvas, replace(canvas, whole_image=True)):
        with pytest.raises(BitstreamError, match="use a split operating point"):
            model.decode(frame)
    assert set(model.description.codecs) == {Codec.RANS, Codec.ZSTD}


def whole(photo: np.ndarray, extension: str, *flags: int, width: int = 0, height: int = 0) -> Frame:
    """Return a frame with an image as a camera or a browser would send it."""
    point = PICTURES[0] if extension == ".jpg" else PICTURES[1]
    payload = cv2.imencode(extension, photo, list(flags))[1].tobytes()
    return Frame(1, 0, point, payload, width, height, whole_image=True)


@pytest.mark.parametrize(
    ("extension", "flags"),
    [
        (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)),
        (".jpg", (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    ],
    ids=["lossless webp", "progressive jpeg"],
)
@pytest.mark.parametrize("shape", [(480, 640), (200, 640), (480, 30), (33, 47)], ids=str)
def test_a_whole_image_is_fitted_as_a_device_fits_it(model, photo, extension, flags, shape):
    image = photo[: shape[0], : shape[1]]
    frame = whole(image, extension, *flags)
    decoded = model.decode(frame)
    as_sent = cv2.imdecode(np.frombuffer(frame.payload, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.letterbox == Letterbox.fit(shape[1], shape[0], INPUT_SIZE)
    np.testing.assert_array_equal(decoded.data, decoded.letterbox.apply(as_sent))


def test_boxes_of_a_whole_image_are_in_its_own_pixels(model, photo):
    large = cv2.resize(photo, (1920, 1440))
    (found,) = model.infer(Mode.IMAGE, [model.decode(whole(large, ".jpg"))])
    assert 640 < found.boxes[:, 2].max() <= 1920 and found.boxes[:, 3].max() <= 1440


def test_a_whole_image_may_say_its_size_but_no_other(model, photo):
    model.decode(whole(photo, ".jpg", width=640, height=480))
    with pytest.raises(BitstreamError, match="says 480x640, but its image is 640x480"):
        model.decode(whole(photo, ".jpg", width=480, height=640))


def test_an_ordinary_image_taken_for_a_canvas_is_refused_with_what_to_do(model, photo):
    with pytest.raises(BitstreamError, match="send it with whole_image"):
        model.decode(replace(whole(photo, ".jpg"), whole_image=False, frame_width=640, frame_height=480))
    stretched = cv2.resize(photo, (INPUT_SIZE, INPUT_SIZE))
    with pytest.raises(BitstreamError, match="send the image with whole_image"):
        model.decode(replace(whole(stretched, ".jpg"), whole_image=False, frame_width=640, frame_height=480))


def test_a_client_is_told_what_it_must_know_of_the_bundle(bundle, model):
    described = model.description
    assert (described.input_size, described.stride) == (INPUT_SIZE, 16)
    assert (described.widths, described.qualities, described.score_threshold) == (WIDTHS, QUALITIES, 0.25)
    assert described.class_names == bundle.manifest.class_names
    assert described.codecs == (Codec.RANS, Codec.ZSTD, Codec.JPEG, Codec.WEBP, Codec.H264)


def test_h264_is_offered_only_where_it_can_be_decoded(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert Codec.H264 not in BundleModel(bundle, torch.device("cpu")).description.codecs


def test_h264_is_decoded_with_what_its_session_holds_and_refused_without_one(model, photo):
    point = OperatingPoint(Codec.H264, 0, 40)
    canvas = Letterbox.fit(640, 480, INPUT_SIZE).apply(cv2.resize(photo, (640, 480)))
    frame = Frame(1, 0, point, H264Encoder().encode(canvas, point.quality), 640, 480)
    store = ReferenceStore()
    assert np.abs(model.decode(frame, store).data.astype(int) - canvas).mean() < 6
    assert store.nbytes > canvas.size
    with pytest.raises(BitstreamError, match="needs a session"):
        model.decode(frame)
    with pytest.raises(BitstreamError, match="at most 48x64"):
        model.decode(replace(frame, frame_width=480, frame_height=640), ReferenceStore())


def test_the_number_of_threads_is_set(tiny_bundle):
    with threads_kept():
        BundleModel(load_server(tiny_bundle), torch.device("cpu"), Tuning(threads=2)).prepare()
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("mode", list(MODES))
def test_channels_last_gives_the_same_predictions(model, tiny_bundle, device, photo, mode):
    other = BundleModel(load_server(tiny_bundle), torch.device("cpu"), Tuning(channels_last=True))
    other.prepare()
    batch = [model.decode(encoded(device, photo[:, :side], MODES[mode][0])) for side in (640, 300)]
    torch.testing.assert_close(other.raw(mode, batch), model.raw(mode, batch), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not is_installed(), reason="needs the extra onnxruntime")
def test_onnx_runtime_gives_the_same_predictions(model, tiny_bundle, device, photo):
    other = BundleModel(load_server(tiny_bundle), torch.device("cpu"), Tuning(threads=1, onnxruntime=True))
    with threads_kept():
        other.prepare()
    for mode, points in MODES.items():
        batch = [model.decode(encoded(device, photo[:, :side], points[0])) for side in (640, 300)]
        torch.testing.assert_close(other.raw(mode, batch), model.raw(mode, batch), rtol=1e-3, atol=1e-4)
    assert other.memory_bytes == model.memory_bytes


def test_bfloat16_gives_nearly_the_same_predictions(model, tiny_bundle, device, photo):
    other = BundleModel(load_server(tiny_bundle), torch.device("cpu"), Tuning(bfloat16=True))
    other.prepare()
    batch = [model.decode(encoded(device, photo, SPLIT_POINTS[0]))]
    raw = other.raw(Mode.SPLIT, batch)
    assert raw.dtype == torch.float
    torch.testing.assert_close(raw, model.raw(Mode.SPLIT, batch), rtol=0.1, atol=0.1)


@pytest.mark.skipif(not is_installed(), reason="needs the extra server")
def test_beside_features_in_bfloat16_images_stay_exact(model, tiny_bundle, device, photo):
    tuning = Tuning(threads=1, channels_last=True, bfloat16=True, onnxruntime=True)
    other = BundleModel(load_server(tiny_bundle), torch.device("cpu"), tuning)
    with threads_kept():
        other.prepare()
    for point, tolerance in ((SPLIT_POINTS[0], 0.1), (PICTURES[0], 1e-3)):
        batch = [model.decode(encoded(device, photo, point))]
        raw = model.raw(point.mode, batch)
        torch.testing.assert_close(other.raw(point.mode, batch), raw, rtol=tolerance, atol=tolerance)


def test_what_is_for_cuda_changes_nothing_on_a_cpu(model, tiny_bundle):
    tuning = Tuning(half_precision=True, pinned_memory=True, cuda_graphs=True)
    other = BundleModel(load_server(tiny_bundle), torch.device("cpu"), tuning)
    other.prepare()
    blank = [model.blank(Mode.SPLIT)]
    torch.testing.assert_close(other.raw(Mode.SPLIT, blank), model.raw(Mode.SPLIT, blank))


def test_a_blank_frame_is_a_frame(model):
    for mode in model.modes:
        assert len(model.infer(mode, [model.blank(mode)] * 2)) == 2


def test_memory_is_that_of_the_weights_of_both_networks(bundle, model):
    parameters = sum(one.numel() for network in (bundle.half, bundle.detector) for one in network.parameters())
    assert model.memory_bytes >= 4 * parameters
    without = BundleModel(replace(bundle, detector=None), torch.device("cpu"))
    assert without.memory_bytes < model.memory_bytes and list(without.modes) == [Mode.SPLIT]


def test_cuda_is_taken_if_present_and_refused_clearly_if_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="use --device cpu"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
