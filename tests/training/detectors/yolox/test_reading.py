"""A student's reading of a YOLOX: zero for a perfect copy, exact values in small cases, and never a NaN."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.detectors.yolox.predictions import ANCHORS, CELLS, CERTAIN, nothing_seen, predictions
from training.detectors.yolox.reading import MIN_BELIEF, attention, detection_error


def test_a_perfect_copy_has_no_error():
    raw = predictions(2)
    assert detection_error(raw, raw).item() == pytest.approx(0.0, abs=1e-5)


def test_one_certain_object_gives_the_cross_entropy_and_the_distance_of_its_box():
    teacher = nothing_seen(classes=2)
    teacher[0, 3] = torch.tensor([0.0, 0.0, 0.0, 0.0, CERTAIN, CERTAIN, -CERTAIN])
    student = teacher.clone()
    student[0, 3, 4] = 0.0  # object: 50 %
    assert detection_error(student, teacher).item() == pytest.approx(math.log(2), rel=1e-4)
    student[0, 3, 5] = 0.0  # its class: 50 %
    assert detection_error(student, teacher).item() == pytest.approx(2 * math.log(2), rel=1e-4)
    student[0, 3, 0] = 1.0  # its box: beyond the round part of the smooth distance, 1 - 0.1 / 2
    assert detection_error(student, teacher).item() == pytest.approx(2 * math.log(2) + 0.95, rel=1e-4)


def test_boxes_and_classes_where_the_teacher_sees_nothing_do_not_matter():
    teacher = predictions()
    teacher[..., 4] = math.log(MIN_BELIEF / 2)
    student = teacher.clone()
    student[..., :4] += 100.0
    student[..., 5:] -= 100.0
    assert detection_error(student, teacher).item() == pytest.approx(0.0, abs=1e-5)


def test_a_ghost_costs_even_where_the_teacher_sees_nothing():
    teacher = nothing_seen()
    student = teacher.clone()
    student[0, 0, 4] = CERTAIN
    assert detection_error(student, teacher).item() == pytest.approx(CERTAIN, rel=1e-4)


def test_twice_the_objects_with_the_same_faults_cost_the_same():
    teacher = nothing_seen()
    teacher[0, :8, 4:6] = CERTAIN
    student = teacher.clone()
    student[0, :8, 4] = 0.0
    few = detection_error(student, teacher)
    teacher[0, 8:16, 4:6] = CERTAIN
    student[0, 8:16, 4] = 0.0
    student[0, 8:16, 5] = CERTAIN
    assert detection_error(student, teacher).item() == pytest.approx(few.item(), rel=1e-4)


def test_an_empty_image_is_finite_and_so_is_its_gradient():
    student = predictions().requires_grad_()
    detection_error(student, nothing_seen()).backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert (student.grad[..., 4] > 0).all()  # down with the objectness


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_wild_logits_are_finite(logit):
    raw = torch.full((1, ANCHORS, 8), logit)
    student = predictions().requires_grad_()
    error = detection_error(student, raw)
    error.backward()
    assert torch.isfinite(error)
    assert torch.isfinite(student.grad).all()


def seen_at(anchor: int, cells: int) -> torch.Tensor:
    raw = nothing_seen(cells=cells)
    raw[0, anchor, 4:] = CERTAIN
    return attention(raw, cells)[0, 0]


def neighbourhood(row: int, column: int, cells: int) -> torch.Tensor:
    expected = torch.zeros(cells, cells)
    expected[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 1.0
    return expected


def test_attention_marks_the_cell_of_an_object_and_its_neighbours():
    cells, row, column = 8, 3, 5
    middle = 4 * cells**2 + row * cells + column
    torch.testing.assert_close(seen_at(middle, cells), neighbourhood(row, column, cells), atol=1e-3, rtol=0)


def test_attention_finds_fine_objects_at_half_their_coordinates():
    cells, row, column = 8, 7, 10
    fine = row * 2 * cells + column
    torch.testing.assert_close(seen_at(fine, cells), neighbourhood(3, 5, cells), atol=1e-3, rtol=0)


def test_attention_spreads_coarse_objects_over_four_cells():
    cells, row, column = 8, 1, 2
    coarse = 4 * cells**2 + cells**2 + row * cells // 2 + column
    expected = torch.zeros(cells, cells)
    expected[2 * row - 1 : 2 * row + 3, 2 * column - 1 : 2 * column + 3] = 1.0
    torch.testing.assert_close(seen_at(coarse, cells), expected, atol=1e-3, rtol=0)


def test_attention_is_a_share_for_every_image():
    seen = attention(predictions(3), CELLS)
    assert seen.shape == (3, 1, CELLS, CELLS)
    assert (seen >= 0).all() and (seen <= 1).all()
