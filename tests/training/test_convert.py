"""The `convert` command, from folders to files that a training reads."""

from __future__ import annotations

import json
import logging

import pytest
from PIL import Image

from splitnet.errors import ConfigError
from training.__main__ import main
from training.convert import ConvertSettings, convert


@pytest.fixture
def folder(tmp_path):
    """Return a folder of twenty images with a YOLO label each, one line of them odd."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i in range(20):
        Image.new("RGB", (40, 20)).save(tmp_path / "images" / f"{i:02}.png")
        (tmp_path / "labels" / f"{i:02}.txt").write_text(f"{i % 2} 0.5 0.5 0.5 0.5\n" + ("odd\n" if i == 3 else ""))
    (tmp_path / "classes.txt").write_text("ant\ncat\n")
    return tmp_path


def settings(folder, **changes) -> ConvertSettings:
    usual = {
        "format": "yolo",
        "labels": folder / "labels",
        "images": folder / "images",
        "out": folder / "train.json",
        "classes": folder / "classes.txt",
    }
    return ConvertSettings(**{**usual, **changes})


def test_everything_goes_to_one_file_unless_some_is_held_out(folder, caplog):
    with caplog.at_level(logging.WARNING):
        done = convert(settings(folder))
    assert (len(done.kept), len(done.held_out)) == (20, 0)
    assert len(json.loads((folder / "train.json").read_text())["images"]) == 20
    assert f"1 x line that is not a class and four numbers, left out: {folder}/labels/03.txt line 2" in caplog.text


def test_no_image_is_in_both_files(folder):
    done = convert(settings(folder, valid=folder / "out" / "valid.json"))
    names = [
        {image["file_name"] for image in json.loads((folder / path).read_text())["images"]}
        for path in ("train.json", "out/valid.json")
    ]
    assert (len(names[0]), len(names[1])) == (len(done.kept), len(done.held_out)) == (16, 4)
    assert not names[0] & names[1]


def test_images_may_be_held_out_three_ways(folder):
    done = convert(settings(folder, valid=folder / "valid.json", test=folder / "test.json"))
    names = [
        {image["file_name"] for image in json.loads((folder / path).read_text())["images"]}
        for path in ("train.json", "valid.json", "test.json")
    ]
    assert [len(some) for some in names] == [12, 4, 4]
    assert len(set.union(*names)) == 20
    assert (len(done.kept), len(done.held_out), len(done.tested)) == (12, 4, 4)


@pytest.mark.parametrize("changes", [{"valid": None}, {"valid_share": 0.4}])
def test_a_test_needs_images_to_choose_by_and_some_to_train_on(folder, changes):
    with pytest.raises(ConfigError, match=r"--test belongs to --valid"):
        settings(folder, **{"valid": folder / "valid.json", "test": folder / "test.json", **changes})


def test_frames_of_one_video_are_not_held_out_as_videos(folder):
    with pytest.raises(ConfigError, match="does not look like several videos"):
        convert(settings(folder, valid=folder / "valid.json", hold_out="videos"))


def test_what_is_held_out_needs_a_file(folder):
    with pytest.raises(ConfigError, match="--hold-out is about what goes to --valid"):
        settings(folder, hold_out="videos")


def test_evaluation_images_without_an_object_are_refused(folder):
    for path in (folder / "labels").iterdir():
        if path.stem != "00":
            path.write_text("")
    with pytest.raises(ConfigError, match=r"no object is left for .*valid\.json: label more"):
        convert(settings(folder, valid=folder / "valid.json"))


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0])
def test_a_share_out_of_range_is_refused(folder, share):
    with pytest.raises(ConfigError, match=r"--valid-share is .* must be from 0\.01 to 0\.5"):
        settings(folder, valid_share=share)


def test_classes_belong_to_yolo_only(folder):
    for changes in ({"classes": None}, {"format": "voc"}):
        with pytest.raises(ConfigError, match="--classes belongs to --format yolo"):
            settings(folder, **changes)


def test_the_command_says_what_it_wrote(folder, capsys):
    words = [f"--{name}={folder / name}" for name in ("labels", "images")]
    words += [f"--classes={folder}/classes.txt", f"--out={folder}/train.json", f"--valid={folder}/valid.json"]
    assert main(["convert", "--format", "yolo", *words]) == 0
    said = capsys.readouterr().out
    assert f"wrote {folder}/train.json: 16 images, 16 objects of 2 classes" in said
    assert f"wrote {folder}/valid.json: 4 images" in said


def test_the_command_refuses_in_one_line(folder, capsys):
    words = ["--labels", "nowhere", "--images", "nowhere", "--out", str(folder / "out.json")]
    assert main(["convert", "--format", "voc", *words]) == 2
    assert capsys.readouterr().err == "training: nowhere is not a folder of labels\n"
