"""Settings of a distillation and of a recompression, and what they mean."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.encoder.front import FrontSpec
from tests.support.tiny_student import CLASSES, make_teacher
from training.detectors.detector_file import DetectorNote, write_detector
from training.distillation.image_run import input_size
from training.distillation.image_settings import ImageSettings
from training.distillation.plan import crop_scales, full_side, recipe_of, student_spec
from training.distillation.recipe import ENSEMBLE, FRONT
from training.distillation.settings import DistillSettings
from training.recompress import RecompressSettings

NEEDED = {
    "teacher": Path("teacher.onnx"),
    "classes": Path("classes.json"),
    "images": (Path("images"),),
    "run": Path("run"),
}
SETTINGS = DistillSettings(**NEEDED, bundle=Path("bundle"))


def test_the_usual_front_sees_a_half_to_all_of_the_detectors_square():
    spec = student_spec(SETTINGS, 80)
    assert spec.encoder == FrontSpec((208, 256, 320, 416))
    assert (spec.detector, spec.classes, spec.split_point) == ("yolox-nano", 80, "dark3")
    assert (spec.qualities, spec.decoder) == (FRONT.qualities, FRONT.decoder)


def test_of_a_small_square_some_shares_are_the_same_and_count_once():
    assert student_spec(replace(SETTINGS, input_size=64), 80).encoder == FrontSpec((32, 48, 64))


def test_sides_are_as_asked_and_end_with_the_detectors_own():
    assert student_spec(replace(SETTINGS, sides=[128, 416]), 80).encoder == FrontSpec((128, 416))
    with pytest.raises(ConfigError, match="--sides must end with the detector's own, 416"):
        student_spec(replace(SETTINGS, sides=[128, 320]), 80)


def test_one_size_alone_is_a_front_for_a_smaller_square_and_its_crops():
    settings = replace(SETTINGS, only=(2, 3))
    spec, recipe = student_spec(settings, 80), recipe_of(settings)
    assert (spec.encoder, full_side(settings), full_side(SETTINGS)) == (FrontSpec((256,)), 256, 416)
    assert (spec.qualities, recipe.prices) == (1, FRONT.prices[3:4])
    assert full_side(replace(settings, sides=[128, 192, 416])) == 192


def test_crops_go_from_a_fronts_smallest_size_to_its_largest():
    smallest, largest = FRONT.scales
    assert crop_scales(SETTINGS) == (pytest.approx(smallest / 2), largest)
    assert crop_scales(replace(SETTINGS, sides=[320, 416])) == (pytest.approx(smallest * 320 / 416), largest)
    assert crop_scales(replace(SETTINGS, only=(2, 3))) == FRONT.scales
    assert crop_scales(replace(SETTINGS, encoder="ensemble")) == ENSEMBLE.scales
    assert crop_scales(replace(SETTINGS, crop_scales=[0.7, 1.25])) == (0.7, 1.25)


def test_the_rest_of_the_detector_learns_as_fast_as_asked():
    assert recipe_of(SETTINGS) == FRONT
    assert recipe_of(replace(SETTINGS, tail_rate=1e-4)) == replace(FRONT, tail_rate=1e-4)
    for rate in (0.0, -1e-4, 1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"--tail-rate is .* must be between 0 and 1"):
            recipe_of(replace(SETTINGS, tail_rate=rate))


def test_an_ensemble_has_no_sides():
    spec = student_spec(replace(SETTINGS, encoder="ensemble"), 3)
    assert spec.encoder == EnsembleSpec()
    assert (spec.qualities, spec.decoder) == (ENSEMBLE.qualities, ENSEMBLE.decoder)


def test_the_square_is_as_asked_or_as_the_teacher_was_trained_for_or_as_published(tmp_path):
    names = tuple(f"class {i}" for i in range(CLASSES))
    write_detector(tmp_path, make_teacher().state_dict(), DetectorNote("yolox-nano", names, 192, "here", 7))
    trained_here = replace(SETTINGS, teacher=tmp_path)
    assert input_size(SETTINGS) == 416
    assert input_size(trained_here) == 192
    assert input_size(replace(trained_here, input_size=224)) == 224


def test_both_commands_take_what_every_training_on_images_takes():
    common = {setting.name for setting in fields(ImageSettings)}
    assert common == {setting.name for setting in fields(RecompressSettings)}
    assert common < {setting.name for setting in fields(DistillSettings)}
    assert (SETTINGS.steps, RecompressSettings(**NEEDED).steps) == (5800, 1500)


def test_the_device_is_a_gpu_only_where_there_is_one(monkeypatch):
    for available, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert SETTINGS.device_kind == kind
        assert replace(SETTINGS, device="cpu").device_kind == "cpu"
    with pytest.raises(ConfigError, match="use --device cpu"):
        replace(SETTINGS, device="cuda")
