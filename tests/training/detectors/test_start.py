"""The start of a training: which classes of a checkpoint are kept."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from splitnet.errors import ConfigError
from tests.support.tiny_student import make_teacher
from tests.training.detectors.tiny_family import TinyFamily
from training.detectors.detector_file import DetectorNote, write_detector
from training.detectors.start import Start, start_network
from training.detectors.yolox.family import YOLOXFamily


@pytest.fixture
def checkpoint(tmp_path):
    """Return a checkpoint of two classes, with biases of 5."""
    (tmp_path / "tiny.pth").write_text("5")
    return tmp_path / "tiny.pth"


def classes(path, *names: str):
    path.write_text(json.dumps({"categories": [{"id": i, "name": name} for i, name in enumerate(names)]}))
    return path


def biases(start: Start, *names: str) -> list[float]:
    return start_network(TinyFamily(), "tiny", names, start, [], 0).bias.tolist()


def test_without_a_checkpoint_the_weights_are_random():
    assert biases(Start(), "a", "b", "c") == [0, 0, 0]


def test_classes_of_the_same_name_are_kept_and_the_others_said(checkpoint, tmp_path, caplog):
    start = Start(checkpoint, classes(tmp_path / "coco.json", "Cat", "dog"))
    with caplog.at_level(logging.INFO):
        assert biases(start, "bird", "cat", "ant") == [0, 5, 0]
    assert "knows 2 classes: kept cat; new bird, ant" in caplog.text


def test_classes_of_unknown_names_are_new_unless_they_are_as_many(checkpoint, caplog):
    with caplog.at_level(logging.INFO):
        assert biases(Start(checkpoint), "a", "b", "c") == [0, 0, 0]
        assert biases(Start(checkpoint), "a", "b") == [5, 5]
    assert "kept none; new a, b, c" in caplog.text
    assert "its classes are kept as they are" in caplog.text


def test_names_that_are_not_as_many_as_the_classes_are_refused(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match=r"tiny\.pth knows 2 classes, but .*coco\.json names 1"):
        biases(Start(checkpoint, classes(tmp_path / "coco.json", "cat")), "cat")


def test_a_detector_trained_here_knows_its_names(tmp_path):
    teacher = make_teacher()
    write_detector(tmp_path, teacher.state_dict(), DetectorNote("yolox-nano", ("a", "b", "c"), 64, "", 1))
    images = [255 * torch.rand(2, 3, 64, 64)]
    network = start_network(YOLOXFamily(), "yolox-nano", ["c", "x"], Start(tmp_path), images, 0)
    bias, old = network.head.cls_preds[0].bias, teacher.head.cls_preds[0].bias
    assert bias[0] == old[2]
    assert bias[1] != old[1]
    assert network.head.stems[0].bn is not None


def test_a_bundle_knows_the_names_of_its_detectors_classes(tiny_bundle, caplog):
    images = [255 * torch.rand(2, 3, 64, 64)]
    with caplog.at_level(logging.INFO):
        start_network(YOLOXFamily(), "yolox-nano", ["class 7", "x"], Start(tiny_bundle), images, 0)
    assert "knows 80 classes: kept class 7; new x" in caplog.text


def test_the_seed_decides_what_is_random():
    first, again, other = (start_network(YOLOXFamily(), "yolox-nano", ["a"], Start(), [], seed) for seed in (1, 1, 2))
    name = "backbone.backbone.stem.conv.conv.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_another_detector_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="holds no YOLOX"):
        start_network(YOLOXFamily(), "yolox-nano", ["a"], Start(tmp_path / "a.safetensors"), [], 0)
