"""The `detector` command: from labelled images to a detector that the other commands take."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.yolox.network import YOLOX
from tests.conftest import PROJECT
from tests.support.labelled_images import write_labelled
from tests.training.detectors.tiny_family import TinyFamily
from training import detector
from training.__main__ import main
from training.detector import PROBLEMS_FILE, DetectorSettings, train_detector
from training.detectors import keeper
from training.detectors.detector_file import DETECTOR_FILE, read_note
from training.detectors.record import evaluations, write_record
from training.detectors.task import DetectorTraining
from training.detectors.teacher import read_teacher
from training.detectors.yolox.weights import read_yolox
from training.loop import scalars
from training.loop.run import CHECKPOINT, JOURNAL, Run, read_checkpoint
from training.loop.scalars import curves

pytestmark = pytest.mark.usefixtures("keep_threads")

NAMES = ("person", "cup", "cat")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """Return a folder of three labelled images."""
    folder = tmp_path_factory.mktemp("labelled")
    write_labelled(folder, NAMES)
    return folder


@pytest.fixture
def tiny(monkeypatch) -> TinyFamily:
    """Let every model be the tiny one, and checkpoints come every two steps."""
    family = TinyFamily()
    monkeypatch.setattr(detector, "family_of", lambda _: family)
    monkeypatch.setattr(detector, "Run", partial(Run, save_every=2, journal_every=2))
    return family


def settings(labelled: Path, run: Path, **changes: object) -> DetectorSettings:
    usual = {
        "data": labelled / "annotations.json",
        "images": labelled,
        "model": "tiny",
        "run": run,
        "steps": 6,
        "batch_size": 2,
        "square": 64,
    }
    return DetectorSettings(**{**usual, **changes})


def journal(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / JOURNAL).read_text().splitlines()]


def test_without_evaluation_the_last_step_is_the_result(tiny, labelled, tmp_path):
    note = train_detector(settings(labelled, tmp_path / "run"))
    assert (note.step, note.ap, note.class_names, note.input_size) == (6, None, NAMES, 64)
    assert note == read_note(tmp_path / "run")
    assert "tiny trained from random weights" in note.origin
    assert "3 images with 3 objects (annotations.json), 6 steps of 2" in note.origin
    assert (tmp_path / "run" / PROBLEMS_FILE).read_text() == ""
    lines = journal(tmp_path / "run")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert {"error", "loss", "positives"} <= lines[0].keys()


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tiny, labelled, tmp_path, monkeypatch):
    train_detector(settings(labelled, tmp_path / "whole", rate=0.1))
    train, taken = DetectorTraining.train, []

    def until_the_cut(task, batch, progress):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(progress)
        return train(task, batch, progress)

    monkeypatch.setattr(DetectorTraining, "train", until_the_cut)
    with pytest.raises(KeyboardInterrupt):
        train_detector(settings(labelled, tmp_path / "cut", rate=0.1))
    assert not (tmp_path / "cut" / DETECTOR_FILE).exists()
    monkeypatch.setattr(DetectorTraining, "train", train)
    train_detector(settings(labelled, tmp_path / "cut", rate=0.1))
    whole, resumed = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    for part in ("network", "average"):
        assert all(torch.equal(value, resumed[part][name]) for name, value in whole[part].items())
    assert resumed["updates"] == 6
    assert (tmp_path / "cut" / DETECTOR_FILE).read_bytes() == (tmp_path / "whole" / DETECTOR_FILE).read_bytes()


def evaluating(labelled: Path, run: Path, **changes: object) -> DetectorSettings:
    return settings(labelled, run, valid=labelled / "annotations.json", evaluate_every=2, **changes)


def test_the_best_of_all_evaluations_is_kept(tiny, labelled, tmp_path, monkeypatch):
    found = iter([10.0, 30.0, 20.0])
    monkeypatch.setattr(keeper, "detector_accuracy", lambda *_: SimpleNamespace(ap=next(found), ap50=50.0))
    note = train_detector(evaluating(labelled, tmp_path / "run"))
    assert (note.step, note.ap) == (4, 30.0)
    assert [line["ap"] for line in journal(tmp_path / "run") if "ap" in line] == [10.0, 30.0, 20.0]


def test_a_result_is_never_worse_than_its_start(tiny, labelled, tmp_path, monkeypatch):
    (tmp_path / "tiny.pth").write_text("5")
    found = iter([25.0, 10.0, 20.0, 24.0])
    monkeypatch.setattr(keeper, "detector_accuracy", lambda *_: SimpleNamespace(ap=next(found), ap50=50.0))
    note = train_detector(evaluating(labelled, tmp_path / "run", init=tmp_path / "tiny.pth"))
    assert (note.step, note.ap) == (0, 25.0)
    assert "tiny trained from tiny.pth" in note.origin
    assert next(found, None) is None


def test_a_record_has_every_evaluation_and_what_is_kept(tiny, labelled, tmp_path, monkeypatch):
    (tmp_path / "tiny.pth").write_text("5")
    found = iter([25.0, 10.0, 30.0])
    monkeypatch.setattr(keeper, "detector_accuracy", lambda *_: SimpleNamespace(ap=next(found), ap50=50.0))
    chosen = evaluating(labelled, tmp_path / "run", init=tmp_path / "tiny.pth", steps=4)
    write_record(tmp_path / "figures" / "record.json", chosen.run, train_detector(chosen))
    record = json.loads((tmp_path / "figures" / "record.json").read_text())
    assert record["evaluations"] == [{"step": s, "ap": ap, "ap50": 50.0} for s, ap in ((0, 25.0), (2, 10.0), (4, 30.0))]
    assert (record["step"], record["ap"], record["class_names"]) == (4, 30.0, list(NAMES))
    assert {"commit", "machine"} <= record.keys()


def test_of_steps_taken_twice_the_last_evaluation_counts(tmp_path):
    lines = [{"step": 2, "ap": 1.0, "ap50": 2.0}, {"step": 2, "loss": 3.0}, {"step": 2, "ap": 4.0, "ap50": 5.0}]
    (tmp_path / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert evaluations(tmp_path) == [{"step": 2, "ap": 4.0, "ap50": 5.0}]


def test_a_run_that_goes_on_remembers_its_best(tiny, labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "detector_accuracy", lambda *_: SimpleNamespace(ap=30.0, ap50=50.0))
    train_detector(evaluating(labelled, tmp_path / "run", steps=2))
    monkeypatch.setattr(keeper, "detector_accuracy", lambda *_: SimpleNamespace(ap=20.0, ap50=50.0))
    assert train_detector(evaluating(labelled, tmp_path / "run", steps=4)).step == 2


def test_a_finished_run_that_lost_its_result_writes_it_again(tiny, labelled, tmp_path):
    train_detector(settings(labelled, tmp_path / "run"))
    before = (tmp_path / "run" / DETECTOR_FILE).read_bytes()
    (tmp_path / "run" / DETECTOR_FILE).unlink()
    train_detector(settings(labelled, tmp_path / "run"))
    assert (tmp_path / "run" / DETECTOR_FILE).read_bytes() == before


def fail(*_: object) -> None:
    raise ConfigError("the disk is gone")


def test_an_evaluation_that_fails_costs_no_step_and_is_made_again(tiny, labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "detector_accuracy", fail)
    with pytest.raises(ConfigError, match="the disk is gone"):
        train_detector(evaluating(labelled, tmp_path / "run", steps=2))
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)["step"] == 2
    monkeypatch.setattr(keeper, "detector_accuracy", lambda *_: SimpleNamespace(ap=20.0, ap50=50.0))
    note = train_detector(evaluating(labelled, tmp_path / "run", steps=2))
    assert (note.step, note.ap) == (2, 20.0)
    assert [one["step"] for one in evaluations(tmp_path / "run")] == [2]


def test_a_broken_image_to_evaluate_on_is_found_before_the_first_step(tiny, labelled, tmp_path, caplog):
    folder = tmp_path / "valid"
    write_labelled(folder, NAMES)
    (folder / "1.png").write_bytes(b"")
    note = train_detector(settings(labelled, tmp_path / "run", valid=folder / "annotations.json", valid_images=folder))
    assert note.ap is not None
    assert "image is unreadable (neither JPEG" in caplog.text
    assert "1.png" in (tmp_path / "run" / PROBLEMS_FILE).read_text()


def test_accuracy_is_that_of_pycocotools(tiny, labelled, tmp_path):
    note = train_detector(evaluating(labelled, tmp_path / "run", steps=2))
    # Everything is said to be the first class, the whole square: no overlap of a half with a box of 40x30.
    assert note.ap == 0.0
    assert note.step == 2


def test_what_was_odd_is_said_and_written_down(tiny, labelled, tmp_path, caplog):
    content = json.loads((labelled / "annotations.json").read_text())
    content["annotations"][0]["bbox"] = [-20, 6, 60, 30]
    content["annotations"][1]["category_id"] = 9
    (tmp_path / "odd.json").write_text(json.dumps(content))
    with caplog.at_level(logging.INFO):
        train_detector(settings(labelled, tmp_path / "run", data=tmp_path / "odd.json", steps=1))
    assert "1 x box clipped to its image" in caplog.text
    assert "3 images, 2 objects of 3 classes; tiny at 64 pixels by sgd" in caplog.text
    assert len((tmp_path / "run" / PROBLEMS_FILE).read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps is 0, must be at least 1"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"evaluate_every": 0}, "--evaluate-every is 0"),
        ({"square": 100}, "--square is 100, must be a multiple of 32"),
        ({"square": 32}, "--square is 32, must be a multiple of 32 from 64 on"),
        ({"seed": -1}, "--threads and --seed must be at least 0"),
        ({"init_classes": Path("x")}, "--init-classes names the classes of --init"),
        ({"valid_images": Path("x")}, "--valid-images belongs to --valid"),
        ({"plain_share": 2.0}, "share of plain steps"),
        ({"data": Path("nowhere.json")}, "nowhere.json is not a COCO annotation file"),
        ({"images": Path("nowhere")}, "nowhere is not a folder of images"),
        ({"valid": Path("nowhere.json")}, "nowhere.json is not a COCO annotation file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_refused_before_anything_is_trained(tiny, labelled, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        train_detector(settings(labelled, tmp_path / "run", **changes))
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_cuda_where_there_is_none_is_said(labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="use --device cpu"):
        settings(labelled, tmp_path, device="cuda")
    assert settings(labelled, tmp_path).device_kind == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert settings(labelled, tmp_path).device_kind == "cuda"
    assert settings(labelled, tmp_path, device="cpu").device_kind == "cpu"


def test_a_run_that_is_a_file_is_said(tiny, labelled, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write to"):
        train_detector(settings(labelled, tmp_path / "file"))


def words(labelled: Path, run: Path, *more: str) -> list[str]:
    data = ["--data", str(labelled / "annotations.json"), "--images", str(labelled), "--run", str(run)]
    return ["detector", *data, "--model", "yolox-nano", "--square", "64", "--threads", "1", *more]


def test_a_yolox_is_trained_evaluated_and_taken_as_a_teacher_and_as_a_start(labelled, tmp_path, capsys):
    more = ["--steps", "2", "--batch-size", "2", "--valid", str(labelled / "annotations.json")]
    assert main(words(labelled, tmp_path / "first", *more)) == 0
    assert f"{tmp_path}/first has the detector of step 2, AP " in capsys.readouterr().out
    teacher = read_teacher(tmp_path / "first", "yolox-nano", NAMES)
    assert isinstance(teacher, YOLOX)
    again = ["--init", str(tmp_path / "first"), "--steps", "1", "--batch-size", "1", "--rate", "1e-9"]
    assert main(words(labelled, tmp_path / "second", *again)) == 0
    # A step that hardly moves: the normalisation that was folded came back, and was folded again.
    found = read_yolox(tmp_path / "second", "yolox-nano").state_dict()
    for name in ("head.cls_preds.0.bias", "head.obj_preds.1.weight"):
        torch.testing.assert_close(found[name], teacher.state_dict()[name], rtol=1e-3, atol=1e-3)


def test_every_mistake_is_one_line(labelled, tmp_path, capsys):
    assert main(words(labelled, tmp_path / "run", "--init", "nowhere.pth")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("training: nowhere.pth is not a file")


def test_without_tensorboard_that_is_said_and_the_journal_stays(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO):
        assert curves(tmp_path) is None
    assert "TensorBoard is not installed" in caplog.text


def test_with_tensorboard_every_figure_is_a_curve(tmp_path, monkeypatch):
    written: list[tuple[object, ...]] = []
    writer = SimpleNamespace(
        add_scalar=lambda *figure: written.append(figure), flush=lambda: written.append(("flush",))
    )
    module = SimpleNamespace(SummaryWriter=lambda folder: written.append((folder,)) or writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    observe = scalars.curves(tmp_path)
    assert observe is not None
    observe(50, {"loss": 2.5, "ap": 10.0})
    assert written == [(str(tmp_path / "tensorboard"),), ("loss", 2.5, 50), ("ap", 10.0, 50), ("flush",)]


@pytest.mark.long
def test_two_processes_train_one_network(labelled, tmp_path):
    more = ["--steps", "2", "--batch-size", "2"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "-m", "--", "training"]  # without the dashes it would read --run as an option of its own
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, *words(labelled, tmp_path / "both", *more)],
        cwd=PROJECT, env=environment, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    state = read_checkpoint(tmp_path / "both" / CHECKPOINT)
    assert state["step"] == 2
    assert len(journal(tmp_path / "both")) == 1  # one of them writes
    assert main(words(labelled, tmp_path / "alone", *more)) == 0
    alone = read_checkpoint(tmp_path / "alone" / CHECKPOINT)
    start, name = YOLOX("yolox-nano", 3, fused=False), "head.obj_preds.2.bias"
    assert not torch.equal(state["network"][name], start.state_dict()[name])
    # The same images, shared out: the same direction, but for normalisation over half of a batch.
    torch.testing.assert_close(state["network"][name], alone["network"][name], rtol=0.05, atol=0.05)
    assert read_note(tmp_path / "both") == read_note(tmp_path / "alone")
