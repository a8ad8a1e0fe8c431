"""Larger detectors with random weights: forward passes, training steps, bundles; long ones at the published size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.bundle import load_device, load_server
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_student import DECODER, ENCODER, random_images, write_random_images
from training.data.labelled_stream import LabelledBatch
from training.detectors.task import DetectorConfig, DetectorTraining
from training.detectors.yolox.family import YOLOXFamily
from training.distillation.export import export_bundle
from training.distillation.front_start import start_front
from training.distillation.recipe import ENSEMBLE, FRONT
from training.distillation.student import Student, StudentSpec
from training.distillation.task import Distillation, DistillConfig
from training.loop.moving_average import average_state

SQUARE, PUBLISHED, CLASSES = 96, 640, 3
NAMES = ("person", "cup", "cat")


def anchors(square: int) -> int:
    return sum((square // stride) ** 2 for stride in (8, 16, 32))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolox-s", "yolox-m"])
@pytest.mark.parametrize("square", [SQUARE, pytest.param(PUBLISHED, marks=pytest.mark.long)])
def test_a_larger_detector_takes_a_step(model, square):
    family = YOLOXFamily()
    torch.manual_seed(0)
    config = DetectorConfig(model, steps=1, batch_size=1)
    task = DetectorTraining(config, family, family.build(model, CLASSES))
    box = np.array([[10, 10, 80, 60]], np.float32)
    batch = LabelledBatch(random_images(1, square, square), (box,), (np.array([1]),))
    figures = task.train(batch, 0.9)
    assert set(figures) == {"box", "object", "class", "distance", "loss", "positives"}
    assert np.isfinite(figures["loss"][0])
    assert figures["positives"][0] >= 1
    assert average_state(task.average)["updates"] == 1
    assert all(torch.isfinite(value).all() for value in task.network.state_dict().values())


@pytest.mark.slow
def test_a_larger_detector_is_distilled():
    torch.manual_seed(0)
    teacher = YOLOX("yolox-s", CLASSES)
    spec = StudentSpec("yolox-s", CLASSES, qualities=2, encoder=ENCODER, decoder=DECODER)
    task = Distillation(DistillConfig(64, replace(ENSEMBLE, prices=(2.0, 1.0))), spec, teacher)
    figures = task.train(random_images(1), 0.9)
    assert {"dark3", "p5", "raw"} <= figures.keys()
    assert all(np.isfinite(value) for values in figures.values() for value in values)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolox-s", "yolox-m"])
def test_a_larger_detector_is_bundled(model, tmp_path: Path):
    assert cv2.imwrite(str(tmp_path / "a.png"), random_images(1)[0])
    spec = StudentSpec(model, CLASSES, qualities=2, encoder=ENCODER, decoder=DECODER)
    manifest = Manifest(model, model, "dark3", SQUARE, NAMES, 2, ENCODER, DECODER, {})
    export_bundle(tmp_path / model, manifest, Student(spec).eval(), None, [tmp_path / "a.png"])
    server = load_server(tmp_path / model)
    raw = server.half(torch.zeros(1, ENCODER.latent_channels, SQUARE // 16, SQUARE // 16))
    assert raw.shape == (1, anchors(SQUARE), 5 + CLASSES)


@pytest.mark.long
@pytest.mark.parametrize("model", ["yolox-s", "yolox-m"])
def test_a_larger_front_is_distilled_bundled_and_run(model, tmp_path: Path):
    torch.manual_seed(0)
    teacher = YOLOX(model, CLASSES).eval()
    images = write_random_images(tmp_path, 2, 480, 640)
    spec = StudentSpec(model, CLASSES, encoder=FrontSpec((320, PUBLISHED)), decoder=FRONT.decoder)
    config = DistillConfig(PUBLISHED, FRONT)
    task = Distillation(config, spec, teacher, lambda student, one: start_front(student, one, images, PUBLISHED))
    figures = task.train(random_images(1, 480, 640), 0.9)
    assert {"dark3", "dark4", "p3", "p4", "p5", "raw"} <= figures.keys()
    assert all(np.isfinite(value) for values in figures.values() for value in values)
    manifest = Manifest(model, model, "dark3", PUBLISHED, NAMES, spec.qualities, spec.encoder, spec.decoder, {})
    export_bundle(tmp_path / model, manifest, task.result(), None, images)
    device, server = load_device(tmp_path / model), load_server(tmp_path / model)
    canvas = Letterbox.fit(640, 480, PUBLISHED).apply(random_images(1, 480, 640)[0])
    symbols = device.encoder.encode(canvas, 2, 3)
    header, received = server.codec.decompress(device.codec.compress(symbols, 2, 3))
    np.testing.assert_array_equal(received, symbols)
    raw = server.half(server.half.dequantise(received, header.width, header.quality)[None])
    assert raw.shape == (1, anchors(PUBLISHED), 5 + CLASSES)
    assert torch.isfinite(raw).all()
