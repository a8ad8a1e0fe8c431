"""Larger detectors at their full size, with random weights: a forward pass, training steps, a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.bundle import load_server
from splitnet.manifest import Manifest
from splitnet.nn.yolox import YOLOX
from tests.tiny_student import DECODER, ENCODER, pictures
from training.detector_task import DetectorConfig, DetectorTraining
from training.distill import Distillation, DistillConfig
from training.export import export_bundle
from training.labelled_stream import LabelledBatch
from training.recipe import ENSEMBLE
from training.student import Student, StudentSpec
from training.yolox_family import YOLOXFamily

SQUARE, CLASSES = 96, 3


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolox-s", "yolox-m"])
def test_a_larger_detector_takes_a_step(model):
    family = YOLOXFamily()
    torch.manual_seed(0)
    config = DetectorConfig(model, steps=1, batch_size=1)
    task = DetectorTraining(config, family, family.build(model, CLASSES))
    box = np.array([[10, 10, 80, 60]], np.float32)
    batch = LabelledBatch(pictures(1, SQUARE, SQUARE), (box,), (np.array([1]),))
    figures = task.train(batch, 0.9)
    assert set(figures) == {"box", "object", "class", "distance", "loss", "positives"}
    assert np.isfinite(figures["loss"][0])
    assert figures["positives"][0] >= 1
    assert task.average.updates == 1
    assert all(torch.isfinite(value).all() for value in task.network.state_dict().values())


@pytest.mark.slow
def test_a_larger_detector_is_distilled():
    torch.manual_seed(0)
    teacher = YOLOX("yolox-s", CLASSES)
    spec = StudentSpec("yolox-s", CLASSES, qualities=2, encoder=ENCODER, decoder=DECODER)
    task = Distillation(DistillConfig(64, replace(ENSEMBLE, prices=(2.0, 1.0))), spec, teacher)
    figures = task.train(pictures(1), 0.9)
    assert {"dark3", "p5", "raw"} <= figures.keys()
    assert all(np.isfinite(value) for values in figures.values() for value in values)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolox-s", "yolox-m"])
def test_a_larger_detector_is_bundled(model, tmp_path: Path):
    assert cv2.imwrite(str(tmp_path / "a.png"), pictures(1)[0])
    spec = StudentSpec(model, CLASSES, qualities=2, encoder=ENCODER, decoder=DECODER)
    names = ("person", "cup", "cat")
    manifest = Manifest(model, model, "dark3", SQUARE, names, 2, ENCODER, DECODER, {})
    export_bundle(tmp_path / model, manifest, Student(spec).eval(), None, [tmp_path / "a.png"])
    server = load_server(tmp_path / model)
    raw = server.half(torch.zeros(1, ENCODER.latent_channels, SQUARE // 16, SQUARE // 16))
    assert raw.shape == (1, (SQUARE // 8) ** 2 + (SQUARE // 16) ** 2 + (SQUARE // 32) ** 2, 5 + CLASSES)
