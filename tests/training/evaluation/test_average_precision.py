"""COCO's average precision on three generated images, and annotation files that are no good."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from tests.support.labelled_images import annotations, write_labelled
from training.data.coco import read_coco
from training.data.coco_file import class_names_of
from training.evaluation.average_precision import LabelledSet

NAMES = ("person", "cup", "cat")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_labelled(tmp_path, NAMES)
    return tmp_path


def read(folder: Path, class_names: tuple[str, ...] = NAMES, limit: int | None = None) -> LabelledSet:
    return LabelledSet(folder, folder / "annotations.json", class_names, limit)


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = annotations(NAMES)
    edit(values)
    (folder / "annotations.json").write_text(json.dumps(values))


def moved(found: Detections, pixels: float) -> Detections:
    return Detections(found.boxes + np.float32(pixels), found.scores, found.labels)


def test_the_truth_is_perfect(folder):
    labelled = read(folder)
    assert labelled.accuracy(labelled.truth()) == Accuracy(100.0, 100.0)


def test_nothing_found_is_zero(folder):
    labelled = read(folder)
    assert labelled.accuracy([Detections.empty()] * 3) == Accuracy(0.0, 0.0)


def test_half_of_the_classes_found_is_half_the_precision(folder):
    labelled = read(folder, limit=2)
    first, _ = labelled.truth()
    accuracy = labelled.accuracy([first, Detections.empty()])
    assert accuracy == Accuracy(50.0, 50.0)


def test_a_box_that_is_a_little_off_counts_for_the_loose_thresholds_only(folder):
    labelled = read(folder)
    accuracy = labelled.accuracy([moved(found, 3) for found in labelled.truth()])  # overlap 0.71
    assert accuracy == Accuracy(50.0, 100.0)


def test_labels_follow_the_order_of_the_detector_not_that_of_the_file(folder):
    labelled = read(folder, class_names=("cat", "dog", "person", "cup"))
    assert [found.labels.tolist() for found in labelled.truth()] == [[2], [3], [0]]
    assert labelled.accuracy(labelled.truth()) == Accuracy(100.0, 100.0)


def test_a_class_that_the_annotations_lack_does_no_harm(folder):
    labelled = read(folder, class_names=("dog", *NAMES))
    found = labelled.truth()
    dog = Detections(found[0].boxes, found[0].scores, np.zeros(1, np.int32))
    assert labelled.accuracy([dog, found[1], found[2]]).ap == pytest.approx(200 / 3, abs=0.01)


def test_images_come_in_the_order_of_their_ids_and_may_be_limited(folder):
    change(folder, lambda values: values["images"].reverse())
    assert [image.image_id for image in read(folder).images] == [10, 11, 12]
    assert [image.image_id for image in read(folder, limit=2).images] == [10, 11]


def test_the_names_come_in_the_order_of_their_ids(folder):
    change(folder, lambda values: values["categories"].reverse())
    assert class_names_of(folder / "annotations.json") == NAMES


def test_missing_images_are_counted_and_one_is_named(folder):
    (folder / "1.png").unlink()
    with pytest.raises(ConfigError, match=r"lacks 1 of the images in .*, as 1\.png"):
        read(folder)
    assert len(read(folder, limit=1).images) == 1


def test_classes_that_the_bundle_does_not_know_are_named(folder):
    with pytest.raises(ConfigError, match="does not know: cat, person"):
        read(folder, class_names=("cup",))


@pytest.mark.parametrize(
    "edit",
    [
        lambda values: values["annotations"].clear(),
        lambda values: values["images"].clear(),
        lambda values: [o.update(iscrowd=1) for o in values["annotations"]],
    ],
    ids=["no annotations", "no images", "crowds only"],
)
def test_a_set_without_objects_measures_nothing(folder, edit):
    change(folder, edit)
    with pytest.raises(ConfigError, match="no object that can be measured on"):
        read(folder)


def ids_restart(values: dict[str, Any]) -> None:
    for entry in values["annotations"]:
        entry["id"] = 1


def ids_begin_at_nought(values: dict[str, Any]) -> None:
    for entry in values["annotations"]:
        entry["id"] -= 1


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        for entry in values["annotations"]:
            for name in names:
                del entry[name]

    return edit


@pytest.mark.parametrize(
    "edit", [ids_restart, ids_begin_at_nought, without("id"), without("id", "area", "iscrowd"), without("area")]
)
def test_ids_areas_and_crowd_marks_of_the_file_do_not_matter(folder, edit):
    change(folder, edit)
    labelled = read(folder)
    assert labelled.accuracy(labelled.truth()) == Accuracy(100.0, 100.0)
    assert labelled.accuracy([labelled.truth()[0], Detections.empty(), Detections.empty()]).ap == 33.33


@pytest.mark.parametrize(
    ("bbox", "kind"),
    [([5, 6, 40], "four finite"), ([5, 6, 40, math.nan], "four finite"), ([5, 6, 40, -30], "without area")],
)
def test_a_box_that_is_none_is_left_out_and_said(folder, bbox, kind, caplog):
    change(folder, lambda values: values["annotations"][1].update(bbox=bbox))
    labelled = read(folder)
    assert [len(found.labels) for found in labelled.truth()] == [1, 0, 1]
    assert kind in caplog.text and "annotation 1 (id 2)" in caplog.text


def test_swapped_sizes_are_the_same_problem_for_a_measurement_as_for_a_training(folder, caplog):
    change(folder, lambda values: values["images"][0].update(width=96, height=128))
    path = folder / "annotations.json"
    assert [image.path.name for image in read(folder).images] == ["1.png", "2.png"]
    (line,) = read(folder).problems.summary()
    assert line == f"1 x image has another size than its entry says, left out: {path} image id 10 ({folder}/0.png)"
    assert line in read_coco(path, folder).problems.summary()


def test_an_image_that_cannot_be_read_is_left_out_and_said(folder, caplog):
    (folder / "1.png").write_bytes(b"")
    assert [image.path.name for image in read(folder).images] == ["0.png", "2.png"]
    assert "1.png" in caplog.text


def test_a_byte_order_mark_does_no_harm(folder):
    path = folder / "annotations.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert class_names_of(path) == NAMES
    assert len(read(folder).images) == 3


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong(folder):
    crowd = {"id": 9, "image_id": 10, "category_id": 1, "bbox": [60, 20, 40, 40], "iscrowd": 1}
    change(folder, lambda values: values["annotations"].append(crowd))
    labelled = read(folder)
    one, *others = labelled.truth()
    assert len(one.labels) == 1
    inside = np.array([[*one.boxes[0]], [70, 30, 90, 50]], np.float32)
    found = Detections(inside, np.array([0.5, 0.9], np.float32), np.array([0, 0], np.int32))
    assert labelled.accuracy([found, *others]) == Accuracy(100.0, 100.0)


def with_root(values: dict[str, Any]) -> None:
    for category in values["categories"]:
        category["supercategory"] = "things"
    values["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})


def test_roboflows_empty_root_is_no_class(folder, caplog):
    change(folder, with_root)
    assert class_names_of(folder / "annotations.json") == NAMES
    labelled = read(folder)
    assert labelled.accuracy(labelled.truth()) == Accuracy(100.0, 100.0)
    assert "1 x category over all others without an object, left out" in caplog.text


def test_a_root_with_objects_is_a_class(folder):
    change(folder, with_root)
    change_back = json.loads((folder / "annotations.json").read_text())
    change_back["annotations"][0]["category_id"] = 0
    (folder / "annotations.json").write_text(json.dumps(change_back))
    assert class_names_of(folder / "annotations.json") == ("things", *NAMES)


@pytest.mark.parametrize("content", ["", "{", "7", "[]", "null", '{"images": 3}', '{"images": [{"id": 1}]}', "{}"])
def test_a_file_that_is_no_annotation_file_is_refused(folder, content):
    (folder / "annotations.json").write_text(content)
    with pytest.raises(ConfigError, match=r"annotations\.json"):
        read(folder)
    with pytest.raises(ConfigError, match=r"annotations\.json is not a COCO annotation file"):
        class_names_of(folder / "annotations.json")


@pytest.mark.parametrize("key", ["images", "categories"])
def test_annotations_without_a_part_are_refused(folder, key):
    change(folder, lambda values: values.pop(key))
    with pytest.raises(ConfigError, match=r"annotations\.json"):
        read(folder)


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"annotations\.json is not a COCO annotation file"):
        read(tmp_path)
