"""Images for training: which are taken."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from splitnet.errors import ConfigError
from training.data import images as images
from training.data.images import find_images


def write_image(path: Path, height: int = 80, width: int = 96, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def write_annotations(path: Path, *names: str) -> Path:
    path.write_text(json.dumps({"images": [{"file_name": name} for name in names]}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        write_image(tmp_path / "images" / f"{i}.png", seed=i)
    return tmp_path / "images"


def test_images_are_found_in_folders_below_and_in_order(tmp_path):
    names = ["a.jpg", "deep/er/b.PNG", "c.jpeg", "d.webp"]
    for name in ["notes.txt", *names]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images([tmp_path]) == sorted(tmp_path / name for name in names)


def test_a_folder_named_twice_counts_twice(folder):
    assert len(find_images([folder, folder])) == 8


@pytest.mark.parametrize(
    ("image", "evaluated"),
    [
        ("COCO_val2014_000000000139.jpg", "000000000139.jpg"),
        ("000000000139.jpg", "COCO_val2014_000000000139.jpg"),
        ("000000000139.png", "val2017/000000000139.jpg"),
        ("COCO_train2014_000000000139.jpg", "COCO_val2014_000000000139.jpg"),
    ],
)
def test_evaluation_images_are_left_out_whatever_their_prefix(tmp_path, image, evaluated):
    for name in (image, "COCO_val2014_000000001390.jpg", "astronaut.jpg", "left_².jpg"):
        (tmp_path / name).touch()
    annotations = write_annotations(tmp_path / "val.json", evaluated, "cat.jpg")
    kept = [path.name for path in find_images([tmp_path], [annotations])]
    assert kept == ["COCO_val2014_000000001390.jpg", "astronaut.jpg", "left_².jpg"]


def test_evaluation_images_without_a_number_are_left_out_by_their_names(tmp_path):
    for name in ("cat.jpg", "dog.jpg"):
        (tmp_path / "deep" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "deep" / name).touch()
    annotations = write_annotations(tmp_path / "val.json", "elsewhere/cat.jpg")
    assert [path.name for path in find_images([tmp_path], [annotations])] == ["dog.jpg"]


def test_folders_without_a_image_are_said(tmp_path):
    with pytest.raises(ConfigError, match=f"no images in {tmp_path}"):
        find_images([tmp_path])
    with pytest.raises(ConfigError, match="no folder at all"):
        find_images([])


def test_folders_of_nothing_but_evaluation_images_are_said(tmp_path):
    (tmp_path / "7.jpg").touch()
    with pytest.raises(ConfigError, match="1 excluded as evaluation images"):
        find_images([tmp_path], [write_annotations(tmp_path / "val.json", "7.jpg")])


def test_a_folder_that_is_not_there_is_said_even_beside_one_that_is(folder):
    with pytest.raises(ConfigError, match="typo is not a folder"):
        find_images([folder, folder / "typo"])


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "{}", '{"images": 3}', '{"images": [{"id": 1}]}'])
def test_annotations_that_are_none_are_refused(folder, content):
    path = folder / "val.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"val\.json is not a COCO annotation file"):
        find_images([folder], [path])


def test_annotations_that_are_missing_are_refused(folder):
    with pytest.raises(ConfigError, match=r"val\.json"):
        find_images([folder], [folder / "val.json"])


def test_an_image_of_too_many_pixels_counts_as_unreadable_and_is_not_unfolded(tmp_path, monkeypatch):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(30_001)))
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was unfolded"))
    assert images.read_image(tmp_path / "0.png") is None


def test_frames_of_other_videos_are_not_excluded_for_their_numbers(tmp_path):
    for camera in "ABC":
        for frame in range(8):
            (tmp_path / f"cam{camera}_{frame:04}.jpg").touch()
    annotations = write_annotations(tmp_path / "val.json", "camC_0000.jpg", "camC_0003.png")
    kept = {path.stem for path in find_images([tmp_path], [annotations])}
    assert len(kept) == 22
    assert not kept & {"camC_0000", "camC_0003"}


def test_images_come_in_the_order_of_their_numbers_and_out_of_linked_folders_too(tmp_path):
    for name in ("day/10.jpg", "day/9.jpg", "other/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "day" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "back").symlink_to(tmp_path / "day")
    found = [path.relative_to(tmp_path / "day").as_posix() for path in find_images([tmp_path / "day"])]
    assert found == ["9.jpg", "10.jpg", "linked/2.jpg"]


def test_images_of_kinds_that_are_not_read_are_counted(tmp_path, caplog):
    for name in ("a.bmp", "b.heic", "c.HEIC", "d.gif", "e.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images([tmp_path])] == ["a.bmp"]
    assert "2 images are of a kind that is not read (.heic)" in caplog.text
