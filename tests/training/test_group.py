"""The `group` command, from images to a bundle that a device and a server load."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import training.__main__
from splitnet.errors import ConfigError
from splitnet.groups.group_bundle import load_group_server, load_part
from training.group import GroupSettings, make_group
from training.groups import teacher


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Return a folder with images of three plain colours."""
    folder, draw = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for index, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for number in range(12):
            image = draw.integers(0, 80, (32, 32, 3), np.uint8)
            image[:, :, index] += 120
            cv2.imwrite(str(folder / name / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def made(images, tmp_path_factory):
    """Return the settings and the figures of a small run."""
    folder = tmp_path_factory.mktemp("group")
    settings = GroupSettings(
        images=images,
        judge_images=images,
        run=folder / "run",
        out=folder / "bundle",
        parts=3,
        devices=4,
        most_parameters=5000,
        teacher_epochs=1,
        epochs=2,
        batch_size=12,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher.TeacherSpec, "__init__", _small)
        return settings, make_group(settings)


def _small(self, channels=(4, 6, 24), deep=1, classes=10):
    for name, value in {"channels": (4, 6, 24), "deep": 1, "classes": classes}.items():
        object.__setattr__(self, name, value)


def test_the_parts_cover_all_filters_within_the_budget(made):
    _, record = made
    assert sorted(filter_ for part in record["parts"] for filter_ in part) == list(range(24))
    assert all(device["parameters"] <= 5000 for device in record["devices"])
    assert [one["lost"] for one in record["accuracy"]["closed form"]] == [0, 1, 2]
    assert sorted(record["plan"][:3]) == [1, 2, 3] and len(record["plan"]) == 4


def test_the_bundle_answers_with_one_class_whatever_parts_came(made):
    settings, _ = made
    server = load_group_server(settings.out)
    assert server.manifest.class_names == ("blue", "green", "red")
    frame = np.full((32, 32, 3), (200, 40, 40), np.uint8)
    parts = {}
    for number in range(1, 4):
        device = load_part(settings.out, number, 3)
        payload = device.codec.compress(device.encoder.encode(frame, 1, 2), 1, 2)
        parts[number] = server.codecs[number - 1].decode(payload)
    for came in (parts, {2: parts[2]}):
        (found,) = server.half.answers([came])
        assert found.boxes.tolist() == [[0, 0, 32, 32]] and 0 < found.scores[0] <= 1


def test_a_run_goes_on_from_where_it_was(made):
    settings, record = made
    assert make_group(settings)["digest"] == record["digest"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts": 99}, "at most"),
        ({"devices": 2}, "--devices 2 cannot make --parts 4"),
        ({"epochs": 0}, "must be above zero"),
        ({"limit": -1}, "must not be negative"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        GroupSettings(**{"images": Path(), "judge_images": Path(), "run": Path(), "out": Path(), **changed})


def test_too_few_images_are_said(images, tmp_path, capsys):
    arguments = ["--images", images, "--judge-images", images, "--run", tmp_path / "run", "--out", tmp_path / "out"]
    assert training.__main__.main(["group", *map(str, arguments)]) == 2
    assert "36 images are fewer than a batch of 500" in capsys.readouterr().err


def test_other_classes_to_judge_on_are_refused(images, tmp_path, capsys):
    for name in ("blue", "yellow"):
        (tmp_path / "judge" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "judge" / name / "0.png"), np.zeros((32, 32, 3), np.uint8))
    arguments = ["--images", images, "--judge-images", tmp_path / "judge", "--run", tmp_path, "--out", tmp_path]
    assert training.__main__.main(["group", *map(str, arguments)]) == 2
    assert "other classes" in capsys.readouterr().err
