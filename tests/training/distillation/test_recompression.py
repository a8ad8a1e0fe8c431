"""Training a detector against compression: what it sees, that it learns, and that it goes on after a stop."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_student import SQUARE, forever, make_teacher, random_images
from training.distillation.recompression import CLEAN_SHARE, RecompressConfig, Recompression, recompressed
from training.loop.run import CHECKPOINT, Run

CONFIG = RecompressConfig(square=SQUARE)


@pytest.fixture
def task() -> Recompression:
    return Recompression(CONFIG, make_teacher())


def noisy(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SQUARE, SQUARE, 3), dtype=np.uint8)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_some_images_stay_clean_and_the_others_lose_something():
    rng = np.random.default_rng(0)
    (image,) = noisy(1)
    seen = [recompressed(image, rng) for _ in range(300)]
    assert all(other.shape == image.shape and other.dtype == np.uint8 for other in seen)
    clean = np.mean([np.array_equal(other, image) for other in seen])
    assert clean == pytest.approx(CLEAN_SHARE, abs=0.07)
    errors = [np.abs(other.astype(int) - image).mean() for other in seen]
    assert max(errors) > 30  # thin links are meant too


def test_a_compressed_image_still_is_the_image():
    rng = np.random.default_rng(0)
    (image,) = random_images(1)
    for _ in range(50):
        assert np.abs(recompressed(image, rng).astype(int) - image).mean() < 40


def test_the_student_starts_as_its_teacher_and_the_teacher_stays(task):
    before = {name: value.clone() for name, value in task.teacher.state_dict().items()}
    assert same(task.student.state_dict(), before)
    task.train(noisy(2), 0.5)
    assert same(task.teacher.state_dict(), before)
    assert not same(task.student.state_dict(), before)


def test_the_error_on_a_fixed_batch_falls(task, monkeypatch):
    batch, rng = noisy(2), np.random.default_rng(1)
    compressed = np.stack([recompressed(image, rng) for image in batch])
    assert not np.array_equal(batch, compressed)
    monkeypatch.setattr(task, "_compress", lambda _: compressed)
    errors = [sum(sum(values) for values in task.train(batch, 0.3).values()) for _ in range(12)]
    assert errors[-1] < 0.7 * errors[0]


def test_figures_are_the_errors_of_features_neck_and_detections(task):
    figures = task.train(noisy(2), 0.5)
    assert set(figures) == {"dark3", "dark4", "p3", "p4", "p5", "raw"}
    assert all(np.isfinite(values[0]) for values in figures.values())


def test_a_loaded_state_goes_on_as_if_nothing_had_happened(task):
    batch = noisy(3)
    task.train(batch, 0.3)
    state = copy.deepcopy(task.state())
    expected = task.train(batch, 0.5)
    other = Recompression(RecompressConfig(square=SQUARE, seed=9), make_teacher())
    other.load(state)
    assert other.train(batch, 0.5) == expected
    assert same(other.student.state_dict(), task.student.state_dict())
    assert same(other.average.module.state_dict(), task.average.module.state_dict())


def test_a_run_leaves_the_averaged_weights_in_its_folder(task, tmp_path: Path):
    Run(task, tmp_path, 3).go(forever(noisy(2)))
    detector = YOLOX("yolox-nano", 3)
    detector.load_state_dict(Recompression.result(tmp_path))
    assert same(detector.state_dict(), task.average.module.state_dict())
    again = Recompression(CONFIG, make_teacher())
    run = Run(again, tmp_path, 4)
    run.resume()
    assert run.step == 3
    assert same(again.student.state_dict(), task.student.state_dict())


def test_a_folder_without_a_run_has_no_result(tmp_path: Path):
    with pytest.raises(ConfigError, match="run `python -m training recompress` first"):
        Recompression.result(tmp_path)


def test_a_run_of_another_kind_is_refused(task, tmp_path: Path):
    torch.save({"step": 1, "student": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(ConfigError, match="another kind of training"):
        Recompression.result(tmp_path)
    with pytest.raises(ConfigError, match="another kind of training"):
        Run(task, tmp_path, 2).resume()


@pytest.mark.parametrize("square", [0, 40, -64])
def test_a_square_that_no_detector_takes_is_refused(square):
    with pytest.raises(ConfigError, match="multiple of 32"):
        RecompressConfig(square=square)
