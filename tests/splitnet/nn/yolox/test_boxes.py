"""Boxes from YOLOX's raw predictions."""

import numpy as np
import pytest
import torch

from splitnet.nn.suppression import MAX_CANDIDATES
from splitnet.nn.yolox.boxes import decode_boxes, detections_from_raw

CLASSES = 3
ANCHORS = 8 * 8 + 4 * 4 + 2 * 2  # of a square of 64 pixels


def raw_with(anchor: int, box: list[float], objectness: float, label: int) -> torch.Tensor:
    raw = torch.full((1, ANCHORS, 5 + CLASSES), -20.0)
    raw[0, :, :4] = 0
    raw[0, anchor, :4] = torch.tensor(box)
    raw[0, anchor, 4] = objectness
    raw[0, anchor, 5 + label] = 20
    return raw


def test_a_box_is_decoded_from_its_cell_and_stride() -> None:
    # Anchor 64 + 5 is the cell in column 1, row 1 of the 4x4 level of stride 16.
    raw = raw_with(69, [0.5, 0.25, np.log(2), np.log(0.5)], 20.0, 2)
    found = detections_from_raw(raw, 64)[0]
    assert found.boxes[0].tolist() == pytest.approx([24 - 16, 20 - 4, 24 + 16, 20 + 4])
    assert found.labels.tolist() == [2]
    assert found.scores[0] == pytest.approx(1.0, abs=1e-6)


def test_the_score_is_objectness_times_class() -> None:
    found = detections_from_raw(raw_with(0, [0, 0, 0, 0], 0.0, 1), 64, score_threshold=0.1)[0]
    assert found.scores.tolist() == pytest.approx([0.5])


def test_an_anchor_can_be_found_as_two_classes() -> None:
    raw = raw_with(9, [0, 0, 0, 0], 20.0, 0)
    raw[0, 9, 5 + 2] = 1.0
    found = detections_from_raw(raw, 64)[0]
    assert found.labels.tolist() == [0, 2]
    assert found.scores.tolist() == pytest.approx([1.0, 1 / (1 + np.exp(-1))], abs=1e-6)
    assert found.boxes[0].tolist() == found.boxes[1].tolist()


def test_nothing_above_the_threshold_is_no_detections() -> None:
    found = detections_from_raw(torch.full((2, ANCHORS, 5 + CLASSES), -20.0), 64)
    assert [len(d) for d in found] == [0, 0]
    assert found[0].boxes.shape == (0, 4)
    assert (found[0].boxes.dtype, found[0].scores.dtype, found[0].labels.dtype) == (np.float32, np.float32, np.int32)


def test_a_flood_of_candidates_is_bounded() -> None:
    raw = torch.zeros(1, 52 * 52 + 26 * 26 + 13 * 13, 5 + CLASSES)
    raw[..., 4:] = 3
    raw[..., 2:4] = -4  # tiny boxes: none suppresses another
    found = detections_from_raw(raw, 416, max_detections=2 * MAX_CANDIDATES)[0]
    assert len(found) == MAX_CANDIDATES
    assert len(detections_from_raw(raw, 416, max_detections=7)[0]) == 7


def test_wild_sizes_stay_finite() -> None:
    assert torch.isfinite(decode_boxes(torch.full((1, ANCHORS, 4), 1e4), 64)).all()


def test_pictures_of_a_batch_do_not_mix() -> None:
    raw = torch.cat((raw_with(3, [0, 0, 0, 0], 20.0, 0), raw_with(70, [0, 0, 0, 0], 20.0, 1)))
    first, second = detections_from_raw(raw, 64)
    assert first.labels.tolist() == [0]
    assert second.labels.tolist() == [1]


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 1])
def test_a_box_that_is_not_finite_is_no_box_and_the_others_are_found(wild: float, where: int) -> None:
    raw = torch.full((1, ANCHORS, 5 + CLASSES), -9.0)
    raw[0, 3:5, :4], raw[0, 3:5, 4:6] = 0.5, 9.0
    raw[0, 3, where] = wild
    (found,) = detections_from_raw(raw, 64)
    assert len(found) == 1 and np.isfinite(found.boxes).all()
