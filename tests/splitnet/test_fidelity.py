"""The agreement of two ways of computing."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.detections import Detections
from splitnet.fidelity import MIN_SURE, THRESHOLDS, fidelity, telling_threshold


def found(*objects: tuple[float, int, float]) -> Detections:
    """Return squares of 10 pixels at some columns, each with its label and score."""
    boxes = np.array([[left, 0, left + 10, 10] for left, _, _ in objects], np.float32).reshape(-1, 4)
    scores = np.array([score for _, _, score in objects], np.float32)
    return Detections(boxes, scores, np.array([label for _, label, _ in objects], np.int32))


ONE = found((0, 1, 0.9), (50, 2, 0.6))


@pytest.mark.parametrize(
    ("other", "share"),
    [
        (ONE, 1.0),
        (found((0, 1, 0.5), (51, 2, 0.9)), 1.0),
        (found((0, 1, 0.9)), 2 / 3),
        (found((0, 1, 0.9), (50, 3, 0.6)), 0.5),
        (found((0, 1, 0.9), (55, 2, 0.6)), 0.5),
        (found(), 0.0),
        (found((0, 1, 0.9), (50, 2, 0.6), (90, 2, 0.28)), 1.0),
        (found((0, 1, 0.9), (50, 2, 0.6), (90, 2, 0.31)), 4 / 5),
        (found((0, 1, 0.9), (50, 2, 0.27)), 1.0),
    ],
    ids=[
        "the same",
        "other scores, a box a pixel off",
        "one missing",
        "another class",
        "another place",
        "nothing",
        "one more that is not sure",
        "one more that is sure",
        "one that nearly fell below",
    ],
)
def test_what_one_way_is_sure_of_the_other_must_find(other, share):
    assert fidelity([ONE], [other], 0.25) == pytest.approx(share)
    assert fidelity([other], [ONE], 0.25) == pytest.approx(share)


def test_a_box_that_is_cut_to_a_line_is_itself():
    line = Detections(np.array([[640, 10, 640, 50]], np.float32), np.array([0.9], np.float32), np.array([1], np.int32))
    assert fidelity([line], [line], 0.25) == 1.0


def test_images_without_objects_say_nothing_against_anyone():
    assert fidelity([found()], [found()], 0.25) == 1.0


def test_images_are_compared_one_by_one():
    assert fidelity([ONE, found()], [found(), ONE], 0.25) == 0.0


def test_the_threshold_that_users_see_counts_unless_too_little_is_found():
    many = [found((0, 1, 0.31))] * MIN_SURE
    assert telling_threshold(many) == THRESHOLDS[0]
    assert telling_threshold([*many[1:], found((0, 1, 0.07))]) == THRESHOLDS[1]
    assert telling_threshold([found((0, 1, 0.013))] * MIN_SURE) == THRESHOLDS[2]
    assert telling_threshold([]) == THRESHOLDS[-1]
