"""Following the guide for one's own detector: its commands, their times, and what fails said in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import main
from benchmarks.costs import guide
from benchmarks.costs.guide import COMMANDS, GUIDE, children_s, command_of, timed
from splitnet.errors import ConfigError
from tests.support.tiny_bundle import write_tiny_bundle

TEXT = """
python -m training convert --format yolo --images "my pictures" \\
                           --out train.json     # what it is for
python -m training convert --format voc
"""
POINTS = [
    {"mode": "split", "width": 1, "quality": 0, "ap": 20.0, "bytes_mean": 900.0},
    {"mode": "split", "width": 2, "quality": 1, "ap": 30.0, "bytes_mean": 2000.0},
    {"mode": "split", "width": 2, "quality": 2, "ap": 30.0, "bytes_mean": 3000.0},
    {"mode": "image", "width": 0, "quality": 9, "ap": 35.0, "bytes_mean": 9000.0},
]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return the benchmark's command line for two images."""
    for name in ("pictures", "labels"):
        (tmp_path / name).mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "pictures" / name).write_bytes(b"")
    (tmp_path / "names.txt").write_text("person\n")
    inputs = ["--images", "pictures", "--labels", "labels", "--classes", "names.txt", "--work", "work"]
    return ["guide", *(word if word.startswith("--") else str(tmp_path / word) for word in inputs)]


def test_the_first_command_of_a_name_is_taken_whole_without_its_comment():
    assert command_of(TEXT, "convert") == [
        "convert", "--format", "yolo", "--images", "my pictures", "--out", "train.json"
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no command python -m training distill"):
        command_of(TEXT, "distill")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_guide_has_every_command(name):
    assert command_of(GUIDE.read_text(), name)[0] == name


def test_a_step_is_timed_by_the_clock_and_by_its_processes():
    clock, processor = iter([100.0, 161.24]), iter([5.0, 97.55])
    row = timed("work", lambda: None, clock.__next__, processor.__next__)
    assert row == {"step": "work", "seconds": 61.2, "cpu_seconds": 92.5}


def test_the_processor_time_of_ended_processes_never_falls():
    before = children_s()
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert children_s() >= before


def test_the_steps_are_followed_in_the_guides_order_in_a_folder_of_its_own(words, tmp_path, monkeypatch):
    done = []

    def follow(_: str, name: str, work: Path) -> None:
        done.append(name)
        assert sorted(path.name for path in work.iterdir())[:3] == ["bundles", "classes.txt", "labels"]
        if name == "evaluate":
            (work / "figures.json").write_text(json.dumps({"images": 1, "unsplit": {"ap": 33.0}, "points": POINTS}))

    def serve(work: Path) -> None:
        done.append("serve")
        write_tiny_bundle(work / "bundles" / "mine")
        answers = [{"detections": [{"label": "class 7"}]}, {"detections": []}, {"detections": [{"label": "horse"}]}]
        (work / "detections.jsonl").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))

    monkeypatch.setattr(guide, "_follow", follow)
    monkeypatch.setattr(guide, "_serve", serve)
    assert main([*words, "--out", str(tmp_path / "guide.json")]) == 0
    result = json.loads((tmp_path / "guide.json").read_text())
    assert done == [*COMMANDS, "serve"] == [row["step"] for row in result["steps"]]
    assert (result["pictures"], result["evaluated"], result["answered"]) == (2, 1, 2)
    assert (result["best"], result["best_ap"], result["best_bytes"]) == ("w2 q1", 30.0, 2000.0)
    assert {"commit", "machine", "minutes", "cpu_minutes", "load_before", "load_after"} <= result.keys()


def test_a_step_that_fails_is_said_with_its_last_line(words, monkeypatch, capsys):
    def fails(*_: object, stdout, **__: object) -> SimpleNamespace:
        stdout.write("working\ntraining: no labels there\n")
        return SimpleNamespace(returncode=2)

    monkeypatch.setattr(guide.subprocess, "run", fails)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "benchmarks guide: the guide's convert failed: training: no labels there"


def test_a_folder_that_is_there_already_is_refused(words, tmp_path, capsys):
    (tmp_path / "work" / "bundles").mkdir(parents=True)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "give a new folder" in line
