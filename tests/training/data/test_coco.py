"""Reading COCO annotations: what is kept, what is left out, what is refused, and that each is said with its entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from splitnet.errors import ConfigError
from tests.support.labelled_images import annotations
from training.data import coco_file
from training.data import image_check as image_check
from training.data.coco import LabelledImages, read_coco

NAMES = ("person", "cup", "cat")
SIDES = (96, 64)  # width, height


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (SIDES[1], SIDES[0], 3), dtype=np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{i}.png"), noise)
    return tmp_path


def content() -> dict[str, Any]:
    """Return three images with one object each, of the classes in turn; ids of images from 10."""
    found = annotations(NAMES)
    for image in found["images"]:
        image["width"], image["height"] = SIDES
    return found


def read(folder: Path, found: dict[str, Any]) -> LabelledImages:
    path = folder / "train.json"
    path.write_text(json.dumps(found))
    return read_coco(path, folder)


def with_object(**changes: Any) -> dict[str, Any]:
    """Return the usual content with one more object, of the first class in the first image."""
    found = content()
    usual = {"id": 99, "image_id": 10, "category_id": 1, "bbox": [1, 2, 10, 20], "area": 200, "iscrowd": 0}
    found["annotations"].append({k: v for k, v in {**usual, **changes}.items() if v is not None})
    return found


def test_boxes_and_labels_are_those_of_the_file(folder):
    result = read(folder, content())
    assert result.class_names == NAMES
    assert [image.path.name for image in result.images] == ["0.png", "1.png", "2.png"]
    assert [image.labels.tolist() for image in result.images] == [[0], [1], [2]]
    assert result.images[0].boxes.tolist() == [[5, 6, 45, 36]]
    assert (result.images[0].width, result.images[0].height) == SIDES
    assert result.objects == 3
    assert result.problems.summary() == []


def test_labels_follow_the_order_of_the_ids_not_of_the_file(folder):
    found = content()
    found["categories"] = [{"id": 3, "name": "cat"}, {"id": 1, "name": "person"}, {"id": 2, "name": "cup"}]
    assert read(folder, found).class_names == NAMES


def test_ids_may_have_gaps(folder):
    found = content()
    for entry in found["categories"]:
        entry["id"] *= 7
    for entry in found["annotations"]:
        entry["category_id"] *= 7
    assert [p.labels.tolist() for p in read(folder, found).images] == [[0], [1], [2]]


def test_one_class_is_enough(folder):
    found = content()
    found["categories"] = found["categories"][:1]
    found["annotations"] = found["annotations"][:1]
    result = read(folder, found)
    assert result.class_names == ("person",)
    assert [len(p.labels) for p in result.images] == [1, 0, 0]


def test_images_without_objects_stay_as_background(folder):
    found = content()
    del found["annotations"][1]
    result = read(folder, found)
    assert result.images[1].boxes.shape == (0, 4)
    assert result.problems.counts == {"class without an object: it will not be learnt": 1}
    assert result.problems.summary()[0].endswith("train.json cup")


@pytest.mark.parametrize(
    ("bbox", "clipped"),
    [
        ([-10, -5, 30, 40], [0, 0, 20, 35]),
        ([90, 60, 50, 50], [90, 60, 96, 64]),
        ([-50, -50, 500, 500], [0, 0, 96, 64]),
    ],
)
def test_boxes_that_reach_beyond_their_image_are_clipped_and_counted(folder, bbox, clipped):
    result = read(folder, with_object(bbox=bbox))
    assert result.images[0].boxes[1].tolist() == clipped
    assert result.problems.counts == {"box clipped to its image": 1}
    assert "annotation 3 (id 99)" in result.problems.summary()[0]


def test_a_pixel_beyond_the_edge_is_rounding(folder):
    result = read(folder, with_object(bbox=[-0.6, 0, 50, 64.9]))
    assert result.images[0].boxes[1].tolist() == pytest.approx([0, 0, 49.4, 64])
    assert not result.problems.counts


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"bbox": [5, 5, 0, 10]}, "box without area"),
        ({"bbox": [5, 5, 10, -2]}, "box without area"),
        ({"bbox": [200, 5, 10, 10]}, "box outside its image"),
        ({"bbox": [-20, 5, 10, 10]}, "box outside its image"),
        ({"bbox": [5, 5, 0.5, 10]}, "box under a pixel"),
        ({"bbox": [5, 5, 10]}, "box that is not four finite numbers"),
        ({"bbox": [5, 5, 10, float("nan")]}, "box that is not four finite numbers"),
        ({"bbox": [5, 5, 10, float("inf")]}, "box that is not four finite numbers"),
        ({"bbox": [5, 5, 10, 1e300]}, "box that is not four finite numbers"),
        ({"bbox": [5, 5, 10, "9"]}, "box that is not four finite numbers"),
        ({"bbox": "everywhere"}, "box that is not four finite numbers"),
        ({"bbox": None}, "box that is not four finite numbers"),
        ({"iscrowd": 1}, "crowd"),
        ({"category_id": 4}, "annotation of an unknown category id"),
        ({"category_id": None}, "annotation of an unknown category id"),
        ({"category_id": [1]}, "annotation of an unknown category id"),
        ({"image_id": 77}, "annotation of an unknown image id"),
        ({"image_id": "10"}, "annotation of an unknown image id"),
        ({"image_id": {}}, "annotation of an unknown image id"),
    ],
)
def test_an_object_of_no_use_is_left_out_and_named(folder, changes, kind):
    result = read(folder, with_object(**changes))
    assert result.objects == 3
    assert result.problems.summary() == [f"1 x {kind}, left out: {folder}/train.json annotation 3 (id 99)"]


@pytest.mark.parametrize("entry", [7, "object", None, [1, 2]])
def test_an_annotation_that_is_no_object_is_left_out(folder, entry):
    found = content()
    found["annotations"].insert(0, entry)
    result = read(folder, found)
    assert result.objects == 3
    assert "annotation 0" in result.problems.summary()[0]


def test_the_same_object_twice_counts_once(folder):
    found = with_object(**{**content()["annotations"][0], "id": 99})
    result = read(folder, found)
    assert result.objects == 3
    assert result.problems.counts == {"object that is there twice, left out": 1}


def test_another_object_with_a_used_id_is_kept_and_said(folder):
    result = read(folder, with_object(id=1))
    assert result.objects == 4
    assert result.problems.counts == {"annotation with the id of another one, kept": 1}


def test_a_repeated_image_entry_is_left_out(folder):
    found = content()
    found["images"].append(dict(found["images"][0]))
    result = read(folder, found)
    assert len(result.images) == 3
    assert result.problems.summary() == [f"1 x image entry repeated: {folder}/train.json image 3 (0.png)"]


def test_one_image_id_for_two_files_is_refused(folder):
    found = content()
    found["images"][1]["id"] = 10
    with pytest.raises(ConfigError, match=r"image id 10 is that of 0\.png and 1\.png"):
        read(folder, found)


@pytest.mark.parametrize(
    "entry",
    [{"id": 5}, {"file_name": "0.png"}, {"id": "5", "file_name": "0.png"}, {"id": 5, "file_name": 3}, 7, None]
    + [{"id": 5, "file_name": name} for name in ("", "../0.png", "/etc/passwd", "a/../../0.png", "..\\0.png")],
)
def test_an_image_entry_of_no_use_is_left_out(folder, entry):
    found = content()
    found["images"].append(entry)
    result = read(folder, found)
    assert len(result.images) == 3
    assert result.problems.summary()[0].endswith(f"{folder}/train.json image 3")


def test_a_missing_image_is_named_once_with_its_objects_left_out(folder):
    (folder / "1.png").unlink()
    result = read(folder, content())
    assert [p.path.name for p in result.images] == ["0.png", "2.png"]
    assert result.problems.summary()[0] == (
        f"1 x image is missing, left out: {folder}/train.json image id 11 ({folder}/1.png)"
    )
    assert set(result.problems.counts) == {
        "image is missing, left out",
        "class without an object: it will not be learnt",
    }


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_left_out(folder, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (SIDES[1], SIDES[0], 3), dtype=np.uint8)
    assert cv2.imwrite(str(folder / f"cut.{suffix}"), noise)
    cut(folder / f"cut.{suffix}")
    found = content()
    found["images"][0]["file_name"] = f"cut.{suffix}"
    result = read(folder, found)
    assert len(result.images) == 2
    (kind,) = (kind for kind in result.problems.counts if kind.startswith("image is unreadable"))
    assert "truncated), left out" in kind


@pytest.mark.parametrize("data", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_image_is_left_out(folder, data):
    (folder / "0.png").write_bytes(data)
    assert any(kind.startswith("image is unreadable (") for kind in read(folder, content()).problems.counts)


def test_a_image_of_another_size_is_left_out_since_its_boxes_lie_elsewhere(folder):
    found = content()
    found["images"][0]["width"] = 960
    result = read(folder, found)
    assert len(result.images) == 2
    assert "image has another size than its entry says, left out" in result.problems.counts


def test_sides_need_not_be_stated(folder):
    found = content()
    for image in found["images"]:
        del image["width"], image["height"]
    assert len(read(folder, found).images) == 3


def test_a_rotated_image_has_the_sides_that_opencv_returns(folder):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (SIDES[1], SIDES[0])).save(folder / "0.png", exif=exif)
    loaded = cv2.imread(str(folder / "0.png"))
    assert loaded is not None
    assert loaded.shape[:2] == (SIDES[1], SIDES[0])
    assert not read(folder, content()).problems.counts


@pytest.mark.parametrize(
    ("mode", "kind", "suffix"), [("L", "grey", "jpg"), ("I;16", "16-bit", "png"), ("CMYK", "CMYK", "jpg")]
)
def test_images_of_another_kind_are_taken_and_said(folder, mode, kind, suffix):
    Image.new(mode, SIDES).save(folder / f"odd.{suffix}")
    found = content()
    found["images"][0]["file_name"] = f"odd.{suffix}"
    result = read(folder, found)
    assert result.objects == 3
    assert result.problems.summary() == [f"1 x {kind} image, read as 8-bit colour: {folder}/odd.{suffix}"]


def test_a_image_too_small_or_too_large_is_left_out(folder, monkeypatch):
    Image.new("RGB", (15, 40)).save(folder / "0.png")
    found = content()
    found["images"][0] |= {"width": 15, "height": 40}
    assert "image is under 16 pixels a side, left out" in read(folder, found).problems.counts
    monkeypatch.setattr(image_check, "MAX_PIXELS", 1000)
    Image.new("RGB", (40, 40)).save(folder / "0.png")
    with pytest.raises(ConfigError, match=r"no object that can be trained on \(.*over 0 million pixels, left out"):
        read(folder, found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["categories"][1].update(id=1), r"category 1 \(cup\) has the id 1 of person"),
        (lambda c: c["categories"][1].update(name="person"), "category 1 has the name 'person' of another one"),
        (lambda c: c["categories"][1].pop("name"), "category 1 has no whole-number id and name"),
        (lambda c: c["categories"][1].update(id="2"), "category 1 has no whole-number id and name"),
        (lambda c: c["categories"].append(3), "category 3 has no whole-number id and name"),
        (lambda c: c["categories"].clear(), "has 0 categories"),
        (lambda c: c.pop("annotations"), "has no list 'annotations'"),
        (lambda c: c.update(images={}), "has no list 'images'"),
        (lambda c: c["annotations"].clear(), "no object that can be trained on"),
    ],
)
def test_what_would_make_every_label_wrong_is_refused(folder, change, message):
    found = content()
    change(found)
    with pytest.raises(ConfigError, match=message):
        read(folder, found)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, "\xff"])
def test_a_file_of_something_else_is_refused(folder, text):
    (folder / "train.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="not a COCO annotation file"):
        read_coco(folder / "train.json", folder)


def test_a_huge_file_is_refused_before_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(coco_file, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("was read"))
    with pytest.raises(ConfigError, match=r"has 0\.0 GB, over 0: split it up"):
        read(folder, content())


def test_missing_folders_and_files_are_said(folder):
    with pytest.raises(ConfigError, match=r"nowhere\.json is not a COCO annotation file"):
        read_coco(folder / "nowhere.json", folder)
    (folder / "train.json").write_text(json.dumps(content()))
    with pytest.raises(ConfigError, match="nowhere is not a folder of images"):
        read_coco(folder / "train.json", folder / "nowhere")


def test_findings_name_a_few_in_the_summary_and_all_in_the_report(folder):
    found = content()
    found["annotations"] += [{**found["annotations"][0], "category_id": 9, "id": i} for i in range(100, 105)]
    problems = read(folder, found).problems
    assert problems.summary()[0].startswith("5 x annotation of an unknown category id")
    assert problems.summary()[0].endswith("annotation 5 (id 102), ...")
    assert len(problems.report().splitlines()) == 5
