"""A study of cuts: measured on a tiny detector, resumed, put into words and drawn; the choice is pure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.nn.architectures import architecture_of
from splitnet.nn.macs import count_macs
from splitnet.nn.yolox.network import FAMILY, YOLOX
from tests.support.cut_samples import DEEP, SHALLOW, cut, point
from tests.support.labelled_images import SIZES, write_labelled
from tests.support.tiny_student import CLASSES, make_teacher, random_images
from training import split_points as split_points_run
from training.__main__ import main
from training.cuts.figures import cut_from_json, cut_to_json, recommend
from training.cuts.plot import best_points, draw_study
from training.cuts.study import latent_stride, mmacs_of
from training.cuts.text import as_text, recommendation
from training.split_points import SplitPointsSettings, believed_truth, run_study

NAMES = ("person", "cup", "cat")
INPUT_SIZE = 64
assert len(NAMES) == CLASSES


@pytest.mark.parametrize(
    ("mmacs", "size", "expected"),
    [
        (1e9, 1e9, ("dark2", 25)),
        (100, 1e9, ("dark2", 25)),
        (100, 2000, ("dark2", 5)),
        (200, 9000, ("dark4", 21)),
        (150, 3000, ("dark4", 20)),
    ],
)
def test_the_most_accurate_point_that_can_be_afforded_is_recommended(mmacs, size, expected):
    choice = recommend([SHALLOW, DEEP], mmacs, size)
    assert choice is not None
    assert (choice.cut.cut, choice.point.ap) == expected


def test_of_equals_the_one_of_fewer_bytes_is_recommended():
    choice = recommend([cut("dark3", 1.0, point(900, 7), point(800, 7))], 10, 1000)
    assert choice is not None
    assert choice.point.bytes_mean == 800


@pytest.mark.parametrize(("mmacs", "size"), [(49, 1e9), (1e9, 1499), (49, 1499)])
def test_what_cannot_be_afforded_is_not_recommended(mmacs, size):
    assert recommend([SHALLOW, DEEP], mmacs, size) is None


def test_a_recommendation_says_what_it_costs():
    assert recommendation([SHALLOW, DEEP], 160, 4000) == (
        "best within 160 MMACs and 4000 bytes a frame: cut behind dark4, 5 components of dark3, step 1: "
        "AP 20.0 at 3.00 KB for 150.0 MMACs"
    )
    assert recommendation([SHALLOW, DEEP]).startswith("best whatever it costs: cut behind dark2")
    assert recommendation([SHALLOW, DEEP], 10) == (
        "nothing within 10 MMACs a frame: the cheapest cut takes 50.0 MMACs, the smallest point 1500 bytes"
    )


def test_only_points_that_no_other_beats_make_the_curve():
    points = [point(3000, 9), point(1000, 4), point(2000, 3), point(2000, 8), point(4000, 9)]
    assert [(p.bytes_mean, p.ap) for p in best_points(points)] == [(1000, 4), (2000, 8), (3000, 9)]


def test_figures_survive_json():
    assert cut_from_json(json.loads(json.dumps(cut_to_json(DEEP)))) == DEEP


@pytest.mark.parametrize("values", [{}, {**cut_to_json(DEEP), "more": 1}, {**cut_to_json(DEEP), "points": [{"ap": 1}]}])
def test_figures_of_something_else_are_refused(values):
    with pytest.raises(ConfigError, match="not figures of a cut"):
        cut_from_json(values)


def test_a_latent_has_the_stride_of_a_bundle_or_of_its_coarsest_tensor():
    assert latent_stride(["stem"]) == latent_stride(["dark3", "dark4"]) == 16
    assert latent_stride(["dark3", "dark4", "dark5"]) == latent_stride(["p3", "top", "middle"]) == 32


def test_before_and_after_a_cut_are_all_that_there_is():
    with torch.device("meta"):
        detector = YOLOX("yolox-nano", CLASSES).eval()
    square = count_macs(detector, lambda: detector(torch.zeros(1, 3, 64, 64, device="meta"))) / 1e6
    real = make_teacher()
    figures = [mmacs_of(real, cut, 64) for cut in architecture_of("yolox-nano").cuts]
    # At this size a 4:3 canvas of whole strides is the square.
    assert all(before + after == pytest.approx(square, abs=0.02) for before, after in figures)
    assert [before for before, _ in figures] == sorted(before for before, _ in figures)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a detector, labelled images and others."""
    folder = tmp_path_factory.mktemp("study")
    save_file({k: v.contiguous() for k, v in make_teacher().state_dict().items()}, folder / "teacher.safetensors")
    write_labelled(folder / "labelled", NAMES)
    (folder / "images").mkdir()
    for i, image in enumerate(random_images(3, 48, 64, seed=8)):
        assert cv2.imwrite(str(folder / "images" / f"{i + 100}.png"), image)
    return folder


def settings(folder: Path, out: Path, **changes: object) -> SplitPointsSettings:
    usual = SplitPointsSettings(
        folder / "teacher.safetensors",
        folder / "labelled",
        out,
        annotations=folder / "labelled" / "annotations.json",
        fit_images=folder / "images",
        cuts=("dark3", "dark4"),
        input_size=INPUT_SIZE,
    )
    return replace(usual, **changes)


@pytest.fixture(scope="module")
def study(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the figures of two cuts. Do not change them: they are measured once."""
    out = tmp_path_factory.mktemp("figures") / "deep" / "split.json"
    run_study(settings(folder, out))
    return out


def test_every_cut_is_measured_at_every_rank_and_step(study):
    record = json.loads(study.read_text())
    assert (record["images"], record["images"], record["truth"]) == (len(SIZES), 3, "annotations")
    assert {"commit", "machine", "weights", "unsplit"} <= record.keys()
    cuts = [cut_from_json(one) for one in record["cuts"]]
    assert [one.cut for one in cuts] == ["dark3", "dark4"]
    for one in cuts:
        assert len({(p.energy, p.step) for p in one.points}) == len(one.points) >= len(record["steps"])
        at_energy = [p.bytes_mean for p in one.points if p.energy == one.points[0].energy]
        assert at_energy == sorted(at_energy)  # steps fall
        for tensor in one.tensors:
            counts = list(tensor.components.values())
            assert counts == sorted(counts)
            assert sum(tensor.spectrum) == pytest.approx(1, abs=1e-3)
            assert list(tensor.spectrum) == sorted(tensor.spectrum, reverse=True)
    assert cuts[0].tensors[0].shape == (64, 8, 8)
    assert [tensor.name for tensor in cuts[1].tensors] == ["dark3", "dark4"]


def test_nothing_is_left_beside_the_figures(study):
    assert [path.name for path in study.parent.iterdir()] == ["split.json"]


def interrupted_after_one_cut(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Interrupt a study in its second cut; returns what is left."""
    whole = split_points_run.study_cuts

    def once(*arguments: object):
        yield next(whole(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(split_points_run, "study_cuts", once)
    with pytest.raises(KeyboardInterrupt):
        run_study(settings(folder, out))
    monkeypatch.setattr(split_points_run, "study_cuts", whole)
    assert not out.exists()
    left: dict[str, object] = json.loads(out.with_name("split.json.partial").read_text())
    return left


def test_an_interrupted_study_goes_on_with_the_next_cut(folder, study, tmp_path, monkeypatch):
    out = tmp_path / "split.json"
    left = interrupted_after_one_cut(folder, out, monkeypatch)
    left["unsplit"] = {"ap": 12.0, "ap50": 34.0}  # measured already: taken as it is
    out.with_name("split.json.partial").write_text(json.dumps(left))
    resumed = run_study(settings(folder, out))
    whole = json.loads(study.read_text())
    assert json.loads(json.dumps(resumed["cuts"])) == whole["cuts"]
    assert resumed["unsplit"] == {"ap": 12.0, "ap50": 34.0}


@pytest.mark.parametrize("left", ["", "{}", '{"cuts": []}', "[1]"])
def test_a_damaged_or_foreign_rest_is_measured_anew(folder, study, tmp_path, left):
    out = tmp_path / "split.json"
    out.with_name("split.json.partial").write_text(left)
    record = run_study(settings(folder, out, cuts=("dark3",), limit=1))
    assert record["images"] == 1
    assert [one["cut"] for one in record["cuts"]] == ["dark3"]


def believed(_: YOLOX, path: Path, input_size: int) -> Detections:
    """Return a sure detection, one without any area and one that nobody would believe."""
    boxes = np.array([[5, 6, 45, 36], [5, 6, 5, 36], [1, 2, 3, 4]], np.float32)
    return Detections(boxes, np.array([0.9, 0.8, 0.2], np.float32), np.array([2, 0, 1], np.int32))


def test_without_annotations_the_unsplit_detector_is_the_truth(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(split_points_run, "unsplit_detections", believed)
    changes = {"annotations": None, "fit_images": None, "cuts": ("dark3",), "limit": 2}
    record = run_study(settings(folder, tmp_path / "split.json", **changes))
    assert (record["truth"], record["fitted_on"]) == ("the unsplit detector", "the same images")
    assert (record["images"], record["photographs"]) == (2, len(SIZES))


def test_what_is_believed_is_written_as_annotations(folder, monkeypatch):
    monkeypatch.setattr(split_points_run, "unsplit_detections", believed)
    paths = [folder / "labelled" / "0.png"]
    truth = believed_truth(make_teacher(), paths, folder, NAMES, INPUT_SIZE)
    assert truth["images"] == [{"id": 1, "file_name": "labelled/0.png"}]
    (only,) = truth["annotations"]
    assert (only["image_id"], only["category_id"], only["bbox"], only["area"]) == (1, 3, [5, 6, 40, 30], 1200)
    assert [one["name"] for one in truth["categories"]] == list(NAMES)


def test_annotations_of_other_classes_are_refused(folder, tmp_path):
    other = write_labelled(tmp_path / "other", (*NAMES, "dog"))
    with pytest.raises(ConfigError, match=r"names 4 classes, .* knows 3"):
        run_study(settings(folder, tmp_path / "split.json", annotations=other, images=other.parent))


@pytest.mark.parametrize(
    "changes", [{"limit": -1}, {"input_size": -1}, {"bytes": -1.0}, {"device_mmacs": -1.0}, {"fit_limit": 0}]
)
def test_numbers_that_cannot_be_are_refused(folder, tmp_path, changes):
    with pytest.raises(ConfigError, match="must"):
        settings(folder, tmp_path / "split.json", **changes)


def test_the_square_is_the_published_one_unless_told():
    made = SplitPointsSettings(Path("w"), Path("i"), Path("o"), model="yolox-s")
    assert made.config.input_size == FAMILY["yolox-s"].input_size
    assert made.config.cuts == ()  # all of its own


def test_the_table_has_all_cuts_and_points(study):
    record = json.loads(study.read_text())
    text = as_text(record, 1e9, 1e9)
    assert text.startswith("unsplit, uncompressed: AP ")
    assert "64x8x8" in text
    points = sum(len(one["points"]) for one in record["cuts"])
    assert sum(line.startswith(("dark3 ", "dark4 ")) for line in text.splitlines()) == points + 2
    assert text.splitlines()[-1].startswith("best within 1e+09 MMACs and 1e+09 bytes a frame: cut behind ")


def test_it_is_drawn_for_light_pages_and_dark_ones(study, tmp_path):
    pytest.importorskip("matplotlib")
    paths = draw_study(tmp_path / "split.json", json.loads(study.read_text()))
    assert [path.name for path in paths] == ["split-light.png", "split-dark.png"]
    light, dark = (cv2.imread(str(path)) for path in paths)
    assert light.shape == dark.shape
    assert light.shape[1] == 1200
    assert light[2, 2].tolist() == [255, 255, 255]
    assert dark[2, 2].tolist() == [0x17, 0x11, 0x0D]


def test_the_command_prints_and_draws(study, folder, capsys, monkeypatch):
    monkeypatch.setattr("training.split_points.run_study", lambda _: json.loads(study.read_text()))
    out = study.parent.parent / "command.json"
    assert main(["split-points", "--weights", "w", "--images", "i", "--out", str(out), "--bytes", "1"]) == 0
    shown = capsys.readouterr().out
    assert "nothing within 1 bytes a frame" in shown
    assert "command-light.png" in shown


def test_a_missing_detector_is_said_in_one_line(folder, tmp_path, capsys):
    images = str(folder / "labelled")
    assert main(["split-points", "--weights", "nowhere.pth", "--images", images, "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("training: nowhere.pth is not a file")
