"""Boxes moved on between answers, and the frames that get them."""

from __future__ import annotations

import numpy as np

from edge_client.frames import Fate, FrameOutcome, FrameResult
from edge_client.output.motion import LONGEST_S, OLDEST_S, Motion, matched
from edge_client.output.smoothing import Smoothing
from splitnet.detections import Detections
from tests.support.client_samples import captured_frame, result

SIZE = (100, 80)


def found(*boxes: tuple[float, float, float, float], labels: tuple[int, ...] | None = None) -> Detections:
    count = len(boxes)
    named = np.array(labels or [0] * count, np.int32)
    return Detections(np.array(boxes, np.float32).reshape(count, 4), np.full(count, 0.9, np.float32), named)


def test_a_box_goes_on_at_half_the_speed_of_its_centre_and_keeps_its_size():
    motion = Motion()
    motion.answered(0.0, found((10, 10, 30, 30)))
    motion.answered(0.1, found((14, 10, 34, 32)))
    expected = motion.at(0.2, *SIZE)
    np.testing.assert_allclose(expected.boxes, [[16, 10.5, 36, 32.5]], atol=1e-4)
    assert (expected.scores.tolist(), expected.labels.tolist()) == (found((0, 0, 1, 1)).scores.tolist(), [0])


def test_what_is_new_stays_where_it_is():
    motion = Motion()
    motion.answered(0.0, found((10, 10, 30, 30)))
    motion.answered(0.1, found((60, 10, 80, 30)))
    np.testing.assert_allclose(motion.at(0.3, *SIZE).boxes, [[60, 10, 80, 30]])


def test_a_box_leaves_the_frame():
    motion = Motion()
    motion.answered(0.0, found((70, 10, 95, 30)))
    motion.answered(0.1, found((80, 10, 105, 30)))
    assert motion.at(0.15, *SIZE).boxes[0, 2] == SIZE[0]
    assert len(motion.at(0.58, *SIZE)) == 0


def test_nothing_is_said_far_ahead_nor_of_the_past_nor_before_the_first_answer():
    motion = Motion()
    assert motion.at(0.0, *SIZE) is None
    motion.answered(1.0, found((10, 10, 30, 30)))
    assert motion.at(0.9, *SIZE) is None
    assert motion.at(1.0 + LONGEST_S + 0.01, *SIZE) is None


def test_answers_far_apart_give_no_speed():
    motion = Motion()
    motion.answered(0.0, found((10, 10, 30, 30)))
    motion.answered(OLDEST_S + 0.1, found((14, 10, 34, 30)))
    np.testing.assert_allclose(motion.at(OLDEST_S + 0.2, *SIZE).boxes, [[14, 10, 34, 30]])


def test_an_answer_that_comes_late_changes_nothing():
    motion = Motion()
    motion.answered(0.2, found((10, 10, 30, 30)))
    motion.answered(0.1, found((50, 50, 60, 60)))
    np.testing.assert_allclose(motion.at(0.2, *SIZE).boxes, [[10, 10, 30, 30]])


def test_boxes_are_matched_one_to_one_within_their_class_the_best_first():
    before = found((0, 0, 10, 10), (2, 0, 12, 10), (0, 0, 10, 10), labels=(0, 0, 1))
    after = found((2, 0, 12, 10), (0, 0, 10, 10), (1, 0, 11, 10), labels=(0, 1, 0))
    assert matched(before, after).tolist() == [1, 2, 0]
    assert matched(found(), after).tolist() == [-1, -1, -1]


class Kept:
    def __init__(self) -> None:
        self.results: list[FrameResult] = []

    def write(self, result: FrameResult) -> None:
        self.results.append(result)

    def close(self) -> None:
        raise AssertionError("whoever feeds a sink closes it")


def fate(frame_id: int, outcome: FrameOutcome, answer: FrameResult | None = None) -> Fate:
    return Fate(outcome, captured_frame(frame_id), result=answer)


def test_frames_without_an_answer_get_predicted_boxes_and_others_are_left_alone():
    sink = Kept()
    smoothing = Smoothing([sink])
    smoothing.write(fate(1, FrameOutcome.SKIPPED))  # nothing is known yet
    smoothing.write(fate(2, FrameOutcome.ANSWERED, result(2)))
    smoothing.write(fate(3, FrameOutcome.OVERTAKEN))
    smoothing.write(fate(4, FrameOutcome.LOST))
    smoothing.close()
    assert [(one.frame.frame_id, one.predicted) for one in sink.results] == [(3, True), (4, True)]
    np.testing.assert_allclose(sink.results[0].detections.boxes, result(2).detections.boxes)
