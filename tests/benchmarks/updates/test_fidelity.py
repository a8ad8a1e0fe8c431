"""Fidelity: average precision if another model's boxes were the truth."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.bootstrap import draw
from splitnet.detections import Detections
from training.evaluation.average_precision import accuracy_against, detected_set

WHOLE = np.ones((1, 2))


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    """Return objects of one class."""
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32), label(boxes))


def label(boxes: tuple[object, ...]) -> np.ndarray:
    return np.full(len(boxes), 3, np.int32)


FULL = [found((0, 0, 20, 20), (40, 0, 60, 20)), found((5, 5, 25, 25))]


def fidelity(images: list[Detections]) -> list[float]:
    """Return it as measured, of all overlaps and of half."""
    precision = detected_set(FULL).matches(images).average_precision(WHOLE)[0]
    return [float(precision.mean()), float(precision[0])]


def test_the_same_boxes_are_all_of_it() -> None:
    assert fidelity(FULL) == [100.0, 100.0]


def test_boxes_that_are_missed_cost_their_share() -> None:
    # Two of three found: precision 1 up to a recall of 2 / 3, which is 67 of 101 points.
    assert fidelity([FULL[0], Detections.empty()]) == pytest.approx([6700 / 101, 6700 / 101])


def test_boxes_that_lie_beside_count_only_where_little_overlap_is_enough() -> None:
    moved = found((0, 4, 20, 24), (40, 4, 60, 24))  # overlaps of 320 / 480
    whole, half = fidelity([moved, FULL[1]])
    assert half == pytest.approx(100.0)
    # At 0.50 to 0.65 all three count; beyond, the third alone, behind two that are wrong: recall and precision 1 / 3.
    assert whole == pytest.approx((4 * 100 + 6 * 34 / 101 * 100 / 3) / 10)


def test_faint_boxes_beside_do_not_count_against_it() -> None:
    beside = [
        Detections(*(np.concatenate(pair) for pair in zip(_parts(one), _parts(FAINT), strict=True))) for one in FULL
    ]
    assert fidelity(beside) == [100.0, 100.0]


FAINT = found((60, 60, 80, 80), score=0.05)


def _parts(one: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return one.boxes, one.scores, one.labels


def test_where_nothing_is_the_truth_nothing_is_measured() -> None:
    with pytest.raises(ValueError, match="nothing was detected"):
        detected_set([Detections.empty()])
    assert accuracy_against([Detections.empty()], [FAINT]).ap == 100.0


def test_the_first_resample_is_the_measurement() -> None:
    counts = draw(2, 5, seed=0)
    assert counts[0].tolist() == [1, 1]
    assert counts.sum(axis=1).tolist() == [2] * 6
    np.testing.assert_array_equal(counts, draw(2, 5, seed=0))
