"""Several processes that distil one student: what each of them does, and that all end with the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.manifest import load_manifest
from splitnet.nn.yolox.network import YOLOX
from tests.conftest import PROJECT
from tests.end_to_end.training_pair import PROGRESS, RECIPE, SPEC, batch, make, weights_of
from tests.support.labelled_images import annotations
from tests.support.tiny_student import SQUARE, make_teacher, random_images, student_spec, write_random_images
from training.__main__ import main
from training.data.crops import CropSpec
from training.detectors.detector_file import DetectorNote, write_detector
from training.distillation.image_run import train_on_images
from training.distillation.recipe import ENSEMBLE
from training.distillation.recompression import RecompressConfig, Recompression
from training.distillation.task import Distillation, DistillConfig
from training.loop import processes as module
from training.loop.moving_average import average_state
from training.loop.processes import Processes
from training.loop.run import CHECKPOINT, JOURNAL, read_checkpoint
from training.recompress import RecompressSettings

SECOND = Processes(1, 2)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the other process say what this one says."""
    monkeypatch.setattr(module.distributed, "all_reduce", lambda flat: flat.mul_(2))
    monkeypatch.setattr(module.distributed, "broadcast", lambda flat, source: flat)


def ensemble(processes: Processes) -> Distillation:
    recipe = replace(ENSEMBLE, prices=(2.0, 0.2))
    return Distillation(DistillConfig(SQUARE, recipe), student_spec(), make_teacher(), processes=processes)


@pytest.mark.usefixtures("silent")
def test_each_process_has_its_own_part_of_what_all_draw():
    whole = ensemble(Processes())._operating_points(6)
    parts = [ensemble(Processes(rank, 3))._operating_points(2) for rank in range(3)]
    for kind in (0, 1):
        assert [int(part[kind][i]) for i in range(2) for part in parts] == whole[kind].tolist()


@pytest.mark.usefixtures("silent")
def test_a_second_process_takes_its_first_weights_from_the_first():
    config = DistillConfig(SQUARE, replace(RECIPE))
    task = Distillation(config, SPEC, make_teacher(), lambda *_: pytest.fail("begun twice"), processes=SECOND)
    task.train(random_images(1), 0.3)
    assert average_state(task.average)["updates"] == 1


@pytest.mark.usefixtures("silent")
def test_processes_see_other_noise_and_compress_otherwise():
    noises = []
    for rank in (0, 1):
        ensemble(Processes(rank, 2))
        noises.append(torch.rand(3).tolist())
    assert noises[0] != noises[1]
    first, second = (Recompression(RecompressConfig(SQUARE), make_teacher(), Processes(rank, 2)) for rank in (0, 1))
    assert first.rng.random() != second.rng.random()
    second.load(first.state())
    assert first.rng.random() != second.rng.random()


@pytest.mark.usefixtures("silent")
def test_a_batch_is_shared_out_and_only_the_first_process_writes(tmp_path):
    images = write_random_images(tmp_path, 2, 72, 96)
    seen: list[np.ndarray] = []

    class Looking:
        def train(self, batch: np.ndarray, progress: float) -> dict[str, list[float]]:
            seen.append(batch)
            return {}

        def state(self) -> dict[str, object]:
            return {}

    needed = {"teacher": tmp_path, "classes": tmp_path, "images": [tmp_path], "device": "cpu"}
    settings = RecompressSettings(**needed, run=tmp_path / "run", steps=1, batch_size=4, square=32)
    for rank in (1, 0):
        assert not (tmp_path / "run" / CHECKPOINT).exists()
        train_on_images(Looking(), settings, images, CropSpec(32), processes=Processes(rank, 2))
    assert [len(part) for part in seen] == [2, 2]
    assert not (seen[0].shape == seen[1].shape and np.array_equal(*seen))
    assert (tmp_path / "run" / CHECKPOINT).is_file()
    with pytest.raises(ConfigError, match="a batch of 4 cannot be shared by 3 processes: take a multiple"):
        train_on_images(
            Looking(), replace(settings, run=tmp_path / "odd"), images, CropSpec(32), processes=Processes(0, 3)
        )


def torchrun(*words: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run([*command, "-m", "--", *map(str, words)])


def run(command: list[str]) -> str:
    """Return what a command says on stderr."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


class _Halves(Distillation):
    """Trains alone on the mean of the losses of two halves of a batch: what two processes do."""

    def _loss(self, batch: np.ndarray, progress: float) -> tuple[dict[str, list[float]], Tensor]:
        (figures, first), (_, second) = (super(_Halves, self)._loss(batch[i::2], progress) for i in (0, 1))
        return figures, (first + second) / 2


@pytest.mark.long
def test_two_processes_end_with_the_same_weights_and_those_of_one(tmp_path):
    torchrun("tests.end_to_end.training_pair", tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    alone = _Halves(make().config, SPEC, make_teacher())
    before = weights_of(alone)
    begun = {name: value.clone() for name, value in before.items()}
    for step, progress in enumerate(PROGRESS):
        alone.train(batch(step), progress)
    assert any(not torch.equal(value, begun[name]) for name, value in first.items() if name.startswith("tail."))
    for name, value in weights_of(alone).items():
        moved = float((value - begun[name]).abs().max())
        assert float((value - first[name]).abs().max()) <= 0.05 * moved + 1e-6, name


@pytest.mark.long
def test_the_command_starts_itself_for_each_gpu_and_one_process_writes(tmp_path):
    names = ("person", "cup")
    write_detector(tmp_path, YOLOX("yolox-nano", 2).state_dict(), DetectorNote("yolox-nano", names, 64, "here", 1))
    (tmp_path / "classes.json").write_text(json.dumps(annotations(names)))
    (tmp_path / "images").mkdir()
    write_random_images(tmp_path / "images", 2, 72, 96)
    folders = {"teacher": tmp_path, "classes": tmp_path / "classes.json", "images": tmp_path / "images"}
    options = {**folders, "run": tmp_path / "run", "bundle": tmp_path / "bundle", "batch-size": 4, "square": 32}
    options |= {"steps": 2, "table-images": 1, "device": "cpu", "gpus": 2}
    words = ["distill", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    said = run([sys.executable, "-m", "training", *words])
    assert said.count("INFO 2 images, 0 excluded") == 1
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)["step"] == 2
    assert len((tmp_path / "run" / JOURNAL).read_text().splitlines()) == 1
    digest = load_manifest(tmp_path / "bundle").digest
    assert main([*words, "--gpus", "1"]) == 0  # nothing is left to train: the same bundle is written
    assert load_manifest(tmp_path / "bundle").digest == digest


def test_what_cannot_be_shared_is_said_before_anything_is_started(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("started"))
    needed = {name: str(tmp_path) for name in ("teacher", "classes", "images", "run")}
    words = ["recompress", *(word for name, value in needed.items() for word in (f"--{name}", value))]
    assert main([*words, "--device", "cpu", "--gpus", "3"]) == 2
    assert "--batch-size 8 cannot be shared out to 3 processes: take a multiple" in capsys.readouterr().err
