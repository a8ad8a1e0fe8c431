"""COCO's average precision on three generated images, and annotation files that are no good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from tests.support.labelled_images import annotations, write_labelled
from training.evaluation.average_precision import LabelledSet, class_names_of

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
    with pytest.raises(ConfigError, match="nothing to measure"):
        read(folder)


@pytest.mark.parametrize("name", ["area", "bbox", "iscrowd"])
def test_an_object_without_a_field_that_counts_is_refused(folder, name):
    change(folder, lambda values: values["annotations"][1].pop(name))
    with pytest.raises(ConfigError, match=f"objects without '{name}'"):
        read(folder)


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
