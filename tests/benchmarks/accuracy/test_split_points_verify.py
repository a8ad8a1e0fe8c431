"""Short trainings at several cuts against the study: the same settings for all, compared at equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy import split_points_verify
from benchmarks.accuracy.split_points_verify import order, ranks
from tests.support.cut_samples import DEEP, SHALLOW, cut, point
from tests.support.labelled_images import write_labelled
from tests.support.tiny_bundle import CLASSES, QUALITIES, WIDTHS, write_tiny_bundle
from training.cuts.figures import cut_to_json

pytestmark = pytest.mark.usefixtures("keep_threads")

STUDY = {"model": "yolox-nano", "input_size": 64, "images": 1, "commit": "abc"}


def trained(name: str, *points: tuple[float, float]) -> list[dict[str, object]]:
    return [{"cut": name, "bytes_mean": size, "ap": ap} for size, ap in points]


def test_cuts_are_compared_at_equal_bytes():
    free = [cut("dark2", 50.0, point(1000, 10), point(4000, 30)), cut("dark3", 90.0, point(2000, 20))]
    found = ranks(trained("dark2", (500, 20), (8000, 40)) + trained("dark3", (1000, 30)), free)
    assert [row["bytes"] for row in found] == [1500, 2000, 3000, 4000, 6000, 8000]
    assert found[0]["free dark3"] is None  # all of its points are larger
    assert found[1] == {"bytes": 2000, "trained dark2": 30, "trained dark3": 30, "free dark2": 20, "free dark3": 20}
    assert found[-1]["trained dark2"] == 40
    assert found[-1]["free dark2"] == 30  # more bytes than its largest point: no worse than that


def test_the_order_is_by_what_they_give():
    row = {"bytes": 2000, "trained dark2": 10, "trained dark3": 30, "free dark2": 20, "free dark3": None}
    assert order(row, "trained") == ["dark3", "dark2"]
    assert order(row, "free") == ["dark2"]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return the command line for one labelled image and a study of two cuts."""
    annotations = write_labelled(tmp_path / "labelled", tuple(f"class {i}" for i in range(CLASSES)))
    study = {**STUDY, "cuts": [cut_to_json(SHALLOW), cut_to_json(DEEP)]}
    (tmp_path / "study.json").write_text(json.dumps(study))
    options = {"images": tmp_path / "labelled", "annotations": annotations, "study": tmp_path / "study.json"}
    options |= {"weights": "teacher.onnx", "training-images": "photographs", "runs": tmp_path / "runs"}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["split-points-verify", *given, "--threads", "1"]


def test_every_cut_is_trained_alike_and_measured(words, tmp_path, monkeypatch):
    seen = []

    def train(settings: split_points_verify.DistillSettings) -> None:
        seen.append(settings)
        write_tiny_bundle(settings.bundle, split_point=settings.split_point)

    monkeypatch.setattr(split_points_verify, "train_split", train)
    assert main([*words, "--cuts", "dark2", "dark4", "--steps", "7", "--out", str(tmp_path / "out.json")]) == 0
    assert [one.split_point for one in seen] == ["dark2", "dark4"]
    assert [one.run for one in seen] == [tmp_path / "runs" / "dark2", tmp_path / "runs" / "dark4"]
    assert {(one.steps, one.sides, one.finer, one.input_size, one.seed) for one in seen} == {(7, (64,), 1, 64, 0)}
    result = json.loads((tmp_path / "out.json").read_text())
    assert (result["steps"], result["images"], result["study_commit"]) == (7, 1, "abc")
    assert len(result["points"]) == 2 * WIDTHS * QUALITIES
    assert {"cut", "quality", "ap", "bytes_mean", "mmacs"} <= result["points"][0].keys()
    assert {"commit", "machine", "ranks"} <= result.keys()


def test_a_cut_without_figures_is_refused_before_any_training(words, capsys):
    assert main([*words, "--cuts", "dark3"]) == 2
    assert "study.json has no figures of dark3: measure that cut first" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_something_else_than_a_study_is_refused(words, tmp_path, capsys, text):
    (tmp_path / "study.json").write_text(text)
    assert main(words) == 2
    assert "is not a study of split points" in capsys.readouterr().err
