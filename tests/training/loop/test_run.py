"""The loop around a training: journal, checkpoints, and going on after an interruption."""

from __future__ import annotations

import json
import os
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from training.loop import run as run_module
from training.loop.run import CHECKPOINT, JOURNAL, Run, read_checkpoint


class Walk:
    """A task whose weight depends on every batch, every progress and the order of both."""

    def __init__(self) -> None:
        self.weight = torch.zeros(3, dtype=torch.float64)
        self.seen: list[float] = []

    def train(self, batch: np.ndarray, progress: float) -> dict[str, list[float]]:
        self.weight = 0.9 * self.weight + float(batch.sum()) * torch.tensor([1.0, progress, progress**2])
        self.seen.append(progress)
        return {"weight": [self.weight[0].item()], "progress": [progress] * 2}

    def state(self) -> dict[str, Any]:
        return {"walk": self.weight}

    def load(self, state: dict[str, Any]) -> None:
        if "walk" not in state:
            raise ConfigError("the checkpoint is of another kind of training")
        self.weight = state["walk"]


class Figures(Walk):
    """A task whose figure is the number of its step."""

    def train(self, batch: np.ndarray, progress: float) -> dict[str, list[float]]:
        return {"figure": [round(progress * 10), round(progress * 10) + 2], "rare": [5.0] if progress == 0 else []}


class PowerCutError(Exception):
    """Ends a training anywhere."""


def batches(first: int = 0):
    return (np.full((1, 2, 2, 3), i % 256, np.uint8) for i in count(first))


def train(folder: Path, steps: int, first: int = 0, **settings: int) -> tuple[Walk, Run]:
    task = Walk()
    run = Run(task, folder, steps, **settings)
    run.resume()
    run.go(batches(first + run.step))
    return task, run


def journal(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]


def test_progress_goes_from_zero_almost_to_one(tmp_path):
    task, run = train(tmp_path, 4)
    assert task.seen == [0.0, 0.25, 0.5, 0.75]
    assert run.step == 4


def test_the_folder_is_made(tmp_path):
    train(tmp_path / "runs" / "first", 1)
    assert (tmp_path / "runs" / "first" / CHECKPOINT).is_file()


def test_the_last_step_is_saved_whenever_it_comes(tmp_path):
    task, _ = train(tmp_path, 7, save_every=5)
    state = read_checkpoint(tmp_path / CHECKPOINT)
    assert state["step"] == 7
    assert torch.equal(state["walk"], task.weight)


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path):
    whole, _ = train(tmp_path / "whole", 20, save_every=10)
    interrupted = Run(Walk(), tmp_path / "cut", 20, save_every=10)

    def until_the_cut():
        yield from islice(batches(), 13)
        raise PowerCutError

    with pytest.raises(PowerCutError):
        interrupted.go(until_the_cut())
    resumed, run = train(tmp_path / "cut", 20, save_every=10)
    assert resumed.seen == [i / 20 for i in range(10, 20)]
    assert run.step == 20
    assert torch.equal(resumed.weight, whole.weight)


def test_without_a_checkpoint_resuming_starts_at_the_beginning(tmp_path):
    run = Run(Walk(), tmp_path, 3)
    assert not run.resume()
    assert run.step == 0


def test_a_run_may_start_from_another_one_with_a_share_of_its_schedule_done(tmp_path):
    first, _ = train(tmp_path / "first", 4)
    task = Walk()
    run = Run(task, tmp_path / "second", 10)
    run.start_from(tmp_path / "first", 0.7)
    assert torch.equal(task.weight, first.weight)
    run.go(batches())
    assert task.seen == [0.7, 0.8, 0.9]
    assert read_checkpoint(tmp_path / "first" / CHECKPOINT)["step"] == 4


def test_a_run_without_a_checkpoint_is_nothing_to_start_from(tmp_path):
    with pytest.raises(ConfigError, match=r"no checkpoint\.pt to start from"):
        Run(Walk(), tmp_path / "second", 10).start_from(tmp_path / "first", 0.5)


def test_a_finished_training_takes_no_further_step(tmp_path):
    first, _ = train(tmp_path, 3)
    again, run = train(tmp_path, 3)
    assert again.seen == []
    assert run.step == 3
    assert torch.equal(again.weight, first.weight)


def test_more_steps_go_on_from_a_finished_training(tmp_path):
    train(tmp_path, 3)
    task, run = train(tmp_path, 5)
    assert task.seen == [0.6, 0.8]
    assert run.step == 5


def test_fewer_steps_than_are_done_are_refused(tmp_path):
    train(tmp_path, 5)
    with pytest.raises(ConfigError, match="at step 5 already: give more --steps"):
        train(tmp_path, 4)


def test_the_journal_has_the_means_since_the_last_line(tmp_path):
    Run(Figures(), tmp_path, 10, journal_every=4).go(batches())
    lines = journal(tmp_path)
    assert [line["step"] for line in lines] == [4, 8, 10]  # the last step has a line too
    assert [line["figure"] for line in lines] == [1.0 + 1.5, 1.0 + 5.5, 1.0 + 8.5]
    assert lines[0]["rare"] == 5.0
    assert all(line["time"] > 1e9 for line in lines)


def test_a_resumed_training_adds_to_the_journal(tmp_path):
    train(tmp_path, 4, journal_every=2)
    train(tmp_path, 8, journal_every=2)
    assert [line["step"] for line in journal(tmp_path)] == [2, 4, 6, 8]


def test_a_half_written_checkpoint_leaves_the_old_one(tmp_path, monkeypatch):
    train(tmp_path, 2)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"No space left on device.*goes on from the last checkpoint"):
        train(tmp_path, 4)
    monkeypatch.undo()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    _, run = train(tmp_path, 4)
    assert run.step == 4
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write to"):
        Run(Walk(), tmp_path / "file" / "run", 1)


def test_a_journal_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(ConfigError, match="cannot write to"):
        train(tmp_path, 1)


@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "flipped", "folder"])
def test_an_unreadable_checkpoint_is_refused_and_stays(tmp_path, damage):
    train(tmp_path, 2)
    path = tmp_path / CHECKPOINT
    data = path.read_bytes()
    contents = {"empty": b"", "garbage": b"\x80\x02 no pickle", "truncated": data[:-100], "flipped": b"\0" + data[1:]}
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(contents[damage])
    with pytest.raises(ConfigError, match="not a readable checkpoint; delete it"):
        train(tmp_path, 4)
    assert path.exists()


@pytest.mark.parametrize("content", [[], 7, {"walk": 1}, {"step": "many"}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(ConfigError, match="not a checkpoint of a run"):
        train(tmp_path, 4)


def test_a_checkpoint_never_runs_code(tmp_path):
    torch.save({"step": 1, "walk": run_module.Run}, tmp_path / CHECKPOINT)
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / CHECKPOINT)


def test_a_checkpoint_of_another_task_is_refused(tmp_path):
    torch.save({"step": 1, "run": torch.zeros(1)}, tmp_path / CHECKPOINT)
    with pytest.raises(ConfigError, match="another kind of training"):
        train(tmp_path, 4)


def test_a_check_comes_every_so_often_and_at_the_end_and_goes_to_the_journal(tmp_path):
    checked: list[int] = []

    def check(step: int) -> dict[str, float]:
        checked.append(step)
        return {"ap": 10.0 * step} if step != 6 else {}

    run = Run(Walk(), tmp_path, 7, journal_every=100)
    run.go(batches(), check, check_every=3)
    assert checked == [3, 6, 7]
    assert [(line["step"], line.get("ap")) for line in journal(tmp_path)] == [(3, 30.0), (7, None), (7, 70.0)]


def test_of_several_processes_one_writes_checks_and_shows_its_progress(tmp_path, capsys):
    other = Run(Walk(), tmp_path, 3, is_writer=False)
    other.go(batches(), lambda _: pytest.fail("checked"), check_every=1)
    assert other.step == 3
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_an_observer_is_told_what_the_journal_is(tmp_path):
    seen: list[tuple[int, Any]] = []
    run = Run(Walk(), tmp_path, 4, journal_every=2, observe=lambda *figures: seen.append(figures))
    run.go(batches())
    lines = [{k: v for k, v in line.items() if k not in ("step", "time")} for line in journal(tmp_path)]
    assert seen == list(zip((2, 4), lines, strict=True))
