"""Measuring a bundle: what is counted are the lengths of real bitstreams, what is scored comes out of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.bundle import DeviceBundle, ServerBundle, add_local_detector, load_device
from splitnet.codec.image_codec import compress_image
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Accuracy, FileEntry, LocalDetector
from splitnet.nn.yolox.architecture import YOLOXArchitecture
from splitnet.nn.yolox.network import YOLOX
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.labelled_images import SIZES, write_labelled
from tests.support.tiny_bundle import INPUT_SIZE, QUALITIES, WIDTHS
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import (
    IMAGE_POINTS,
    Evaluation,
    evaluate,
    measure,
    operating_points,
    unsplit_detections,
)

SPLIT, ZSTD = OperatingPoint(Codec.RANS, 2, 1), OperatingPoint(Codec.ZSTD, 4, 2)
JPEG, WEBP = OperatingPoint(Codec.JPEG, 0, 30), OperatingPoint(Codec.WEBP, 0, 40)
POINTS = [SPLIT, ZSTD, JPEG, WEBP]


@pytest.fixture(scope="module")
def measured(device: DeviceBundle, server: ServerBundle, labelled: LabelledSet) -> Evaluation:
    return evaluate(device, server, labelled, POINTS)


def lengths(device: DeviceBundle, labelled: LabelledSet, point: OperatingPoint) -> list[int]:
    """Return the bytes of every image's payload, made as a device makes it."""
    found = []
    for image in labelled.images:
        frame = cv2.imread(str(image.path))
        canvas = Letterbox.fit(frame.shape[1], frame.shape[0], INPUT_SIZE).apply(frame)
        if point.mode is Mode.IMAGE:
            payload = compress_image(canvas, point.codec, point.quality)
        else:
            symbols = device.encoder.encode(canvas, point.width, point.quality)
            payload = device.codec.compress(symbols, point.width, point.quality, point.codec)
        found.append(len(payload))
    return found


def test_bytes_are_the_lengths_of_real_payloads(measured, device, labelled):
    assert len(measured.points) == len(POINTS)
    for point, figures in zip(POINTS, measured.points, strict=True):
        sizes = lengths(device, labelled, point)
        assert figures.bytes_mean == pytest.approx(np.mean(sizes), abs=0.06)
        assert figures.bytes_p90 == pytest.approx(np.percentile(sizes, 90), abs=0.06)


def test_figures_name_their_operating_point(measured):
    named = [f.point for f in measured.points]
    assert named == POINTS
    assert [f.mode for f in measured.points] == [Mode.SPLIT, Mode.SPLIT, Mode.IMAGE, Mode.IMAGE]


def test_costs_on_the_device_are_positive_where_there_are_any(measured, device):
    split, zstd, jpeg, webp = measured.points
    assert all(figures.encode_ms_p50 > 0 for figures in measured.points)
    assert split.mmacs == pytest.approx(device.encoder.mmacs(2, 48, 64), abs=0.005)
    assert zstd.mmacs == pytest.approx(device.encoder.mmacs(4, 48, 64), abs=0.005)
    assert jpeg.mmacs == webp.mmacs == 0.0


def test_the_json_has_the_promised_keys(measured):
    record = measured.to_json()
    assert set(record) == {"unsplit", "points", "local"}
    assert set(record["unsplit"]) == {"ap", "ap50"}
    keys = {"mode", "codec", "width", "quality", "ap", "ap50", "bytes_mean", "bytes_p90", "encode_ms_p50", "mmacs"}
    assert all(set(point) == keys for point in record["points"])


def test_detections_are_scored_in_pixels_of_the_frame(device, server, labelled, monkeypatch):
    """Let the networks find exactly the truth, in pixels of the square: everything after must keep it."""
    scales = [Letterbox.fit(width, height, INPUT_SIZE).scale_x for height, width in SIZES]
    in_square = [
        Detections(found.boxes * np.float32(scale), found.scores, found.labels)
        for found, scale in zip(labelled.truth(), scales, strict=True)
    ]
    asked = iter([found for found in in_square for _ in range(4)])  # two points and both whole detectors
    monkeypatch.setattr(YOLOXArchitecture, "detections", lambda *_: [next(asked)])
    result = evaluate(device, server, labelled, [SPLIT, JPEG])
    assert result.unsplit == result.local == Accuracy(100.0, 100.0)
    assert [(figures.ap, figures.ap50) for figures in result.points] == [(100.0, 100.0)] * 2


def test_without_an_unsplit_detector_only_split_points_are_measured(device, server, labelled):
    result = evaluate(device, replace(server, detector=None), labelled, POINTS)
    assert result.unsplit is None
    assert [figures.codec for figures in result.points] == [Codec.RANS, Codec.ZSTD]
    assert result.to_json()["unsplit"] is None


def test_a_local_detector_is_measured_as_the_device_runs_it(tiny_bundle, server, labelled, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "own"))
    names = server.manifest.class_names
    known = LocalDetector("yolox-nano", 96, names, FileEntry("", 0))
    add_local_detector(folder, YOLOX("yolox-nano", len(names)), known)
    seen = []
    monkeypatch.setattr(
        YOLOXArchitecture, "detections", lambda _, raw, size, *rest: seen.append(size) or [Detections.empty()]
    )
    result = evaluate(load_device(folder), server, labelled, [SPLIT])
    canvases = [Letterbox.fit(width, height, 96, 32) for height, width in SIZES]
    assert seen[2::3] == [(box.canvas_height, box.canvas_width) for box in canvases]
    assert seen[0::3] == [(INPUT_SIZE, INPUT_SIZE)] * 3
    assert seen[1::3] == [INPUT_SIZE] * 3
    assert result.local == Accuracy(0.0, 0.0)


def test_the_servers_part_alone_may_have_more_threads(labelled):
    threads = []

    class Watching:
        detector_name = "yolox-nano"

        def fit(self, frame_width, frame_height):
            return Letterbox.fit(frame_width, frame_height, INPUT_SIZE)

        def seen(self, box):
            return INPUT_SIZE

        def compress(self, frame, box):
            threads.append(("device", torch.get_num_threads()))
            return b"four"

        def raw(self, payload, box):
            threads.append(("server", torch.get_num_threads()))
            return torch.full((1, 84, 85), -10.0)  # nothing is found

    (tally,) = measure([Watching()], labelled, server_threads=2)
    assert threads == [("device", 1), ("server", 2)] * 3
    assert torch.get_num_threads() == 1
    assert tally.sizes == [4, 4, 4]
    assert [len(found) for found in tally.found] == [0, 0, 0]


def test_every_point_of_a_bundle_can_be_asked_for(device):
    points = operating_points(device)
    assert len(points) == WIDTHS * QUALITIES + len(IMAGE_POINTS)
    assert {p.codec for p in points} == {Codec.RANS, Codec.JPEG, Codec.WEBP}
    chosen = operating_points(device, [1, 4], with_images=False)
    assert {(p.width, p.quality) for p in chosen} == {(w, q) for w in (1, 4) for q in range(QUALITIES)}
    few = operating_points(device, [1, 4], [0, 2], with_images=False)
    assert [str(point) for point in few] == ["w1 q0", "w1 q2", "w4 q0", "w4 q2"]


@pytest.mark.parametrize("width", [0, WIDTHS + 1, -1])
def test_a_width_that_the_bundle_lacks_is_refused(device, server, labelled, width):
    with pytest.raises(ConfigError, match="width"):
        evaluate(device, server, labelled, operating_points(device, [width], with_images=False))


@pytest.mark.parametrize("quality", [QUALITIES, -1])
def test_a_quality_that_the_bundle_lacks_is_refused(device, server, labelled, quality):
    with pytest.raises(ConfigError, match="quality"):
        evaluate(device, server, labelled, operating_points(device, [1], [quality], with_images=False))


def test_an_unreadable_image_is_named(device, server, labelled, tmp_path):
    annotations = write_labelled(tmp_path, device.manifest.class_names)
    broken = LabelledSet(tmp_path, annotations, device.manifest.class_names)
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"1\.png is not a readable image"):
        evaluate(device, server, broken, [SPLIT])
    with pytest.raises(ConfigError, match=r"1\.png is not a readable image"):
        unsplit_detections(server.detector, tmp_path / "1.png", INPUT_SIZE)
