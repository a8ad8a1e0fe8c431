"""Average precision of resamples: pycocotools' own figures where it can be asked, arithmetic where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from splitnet.detections import Detections
from training.evaluation.average_precision import LabelledSet
from training.evaluation.matches import ClassMatches, Matches

PICTURES, CLASSES = 12, 3
NAMES = tuple("abc")


def one_class(images: list[int], hits: list[int], objects: list[int], ignored: list[int] | None = None) -> Matches:
    """Return matches of one class that are the same at every threshold."""

    def every(values: list[int]) -> np.ndarray:
        return np.tile(np.array(values, np.bool_), (10, 1))

    found = ClassMatches(np.array(images), every(hits), every(ignored or [0] * len(hits)), np.array(objects))
    return Matches(len(objects), (found,))


def ap(matches: Matches, *counts: list[int]) -> list[float]:
    return [round(float(value), 6) for value in matches.average_precision(np.array(counts)).mean(axis=1)]


def test_all_found_and_nothing_else_is_a_hundred():
    assert ap(one_class([0, 1], [1, 1], [1, 1]), [1, 1]) == [100.0]


def test_half_of_the_objects_found_reach_51_of_101_recalls():
    assert ap(one_class([0], [1], [1, 1]), [1, 1]) == [round(100 * 51 / 101, 6)]


def test_a_wrong_one_before_a_right_one_halves_the_precision():
    assert ap(one_class([0, 0], [0, 1], [1]), [1]) == [50.0]
    assert ap(one_class([0, 0], [1, 0], [1]), [1]) == [100.0]


def test_what_shows_a_crowd_is_neither_right_nor_wrong():
    assert ap(one_class([0, 0], [0, 1], [1], ignored=[1, 0]), [1]) == [100.0]


def test_a_image_counts_as_often_as_the_resample_has_it():
    matches = one_class([0, 1], [0, 1], [1, 1])  # a wrong one in the first image, then a right one in the second
    third = 100 * 51 / 101 / 2
    assert ap(matches, [1, 1], [0, 2], [2, 0]) == [round(third, 6), 100.0, 0.0]
    assert ap(matches, [1, 3]) == [round(100 * 76 / 101 * 3 / 4, 6)]  # recall 0.75 at precision 3/4


def test_a_class_without_an_object_in_a_resample_does_not_enter_its_mean():
    first, second = (one_class([i], [1], [int(i == 0), int(i == 1)]).classes[0] for i in (0, 1))
    missed = ClassMatches(second.images, ~second.hits, second.ignored, second.objects)
    assert ap(Matches(2, (first, missed)), [1, 1], [2, 0], [0, 2]) == [50.0, 100.0, 0.0]


def test_a_resample_without_any_object_has_no_precision():
    assert ap(one_class([0], [0], [0, 1]), [2, 0]) == [0.0]


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledSet:
    """Return a set of random objects of three classes, a crowd among them."""
    rng = np.random.default_rng(1)
    objects = [
        {"image_id": int(i), "category_id": int(c), "bbox": box.tolist(), "area": float(box[2] * box[3])}
        for i, c, box in zip(
            rng.integers(1, PICTURES + 1, 60), rng.integers(1, 4, 60), rng.integers(20, 60, (60, 4)), strict=True
        )
    ]
    objects = [{**o, "id": i + 1, "iscrowd": int(i == 7)} for i, o in enumerate(objects)]
    images = [{"id": i + 1, "file_name": f"{i}.png", "height": 128, "width": 128} for i in range(PICTURES)]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    for image in images:
        assert cv2.imwrite(str(tmp_path / str(image["file_name"])), np.zeros((128, 128, 3), np.uint8))
    return LabelledSet(tmp_path, tmp_path / "a.json", NAMES)


def shaken(truth: Detections, rng: np.random.Generator) -> Detections:
    """Return the objects moved a little, some of them lost, some of them twice, in random order."""
    kept = rng.integers(0, max(1, len(truth)), len(truth))
    boxes = truth.boxes[kept] + rng.normal(0, 4, (len(kept), 4)).astype(np.float32)
    scores = -np.sort(-rng.random(len(kept)).round(1))  # many are equal
    return Detections(boxes, scores.astype(np.float32), truth.labels[kept])


def test_every_image_once_is_what_pycocotools_says(labelled):
    rng = np.random.default_rng(0)
    found = [shaken(truth, rng) for truth in labelled.truth()]
    expected = labelled.accuracy(found)
    (thresholds,) = labelled.matches(found).average_precision(np.ones((1, PICTURES)))
    assert 5 < expected.ap < 95
    assert round(float(thresholds.mean()), 2) == expected.ap
    assert round(float(thresholds[0]), 2) == expected.ap50


def test_a_resample_of_some_images_is_what_pycocotools_says_of_these(labelled):
    rng = np.random.default_rng(0)
    found = [shaken(truth, rng) for truth in labelled.truth()]
    matches = labelled.matches(found)
    labelled.images = labelled.images[:5]
    counts = np.array([[1] * 5 + [0] * 7])
    assert round(float(matches.average_precision(counts).mean()), 2) == labelled.accuracy(found[:5]).ap


def test_nothing_found_is_zero(labelled):
    matches = labelled.matches([Detections.empty()] * PICTURES)
    assert matches.average_precision(np.ones((2, PICTURES))).tolist() == [[0.0] * 10] * 2
