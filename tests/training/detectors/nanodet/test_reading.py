"""A student's reading of a NanoDet-Plus, on cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.detectors.nanodet.reading import MIN_BELIEF, READING, attention, detection_error
from training.distillation.losses import distillation_loss

CELLS = 6  # a square of 96 pixels: levels of 12, 6, 3 and 2 positions a side
SIZES = (144, 36, 9, 4)
POINTS = sum(SIZES)
CERTAIN = 20.0


def nothing_seen(classes: int = 2) -> torch.Tensor:
    raw = torch.zeros(1, POINTS, classes + 32)
    raw[..., :classes] = -CERTAIN
    return raw


def seen(point: int) -> torch.Tensor:
    raw = nothing_seen()
    raw[0, point, 1] = CERTAIN
    return attention(raw, CELLS)[0, 0]


def test_attention_is_nowhere_where_nothing_is_seen():
    assert float(attention(nothing_seen(), CELLS).max()) < 1e-3


def test_a_point_of_the_finest_level_draws_attention_to_its_position_and_the_neighbours():
    first = seen(0).round()
    assert first[:2, :2].sum() == first.sum() == 4
    last = seen(SIZES[0] - 1).round()
    assert last[4:, 4:].sum() == last.sum() == 4


def test_a_coarse_point_draws_attention_to_all_that_it_covers():
    middle = seen(144 + 36 + 4).round()  # the middle of 3 x 3
    assert middle[1:5, 1:5].sum() == middle.sum() == 16
    last = seen(POINTS - 1).round()  # of 2 x 2 over 96 pixels, so it reaches over the edge
    assert last[3:, 3:].sum() == last.sum() == 9


def test_a_perfect_copy_has_no_error():
    raw = torch.randn(2, POINTS, 34, generator=torch.Generator().manual_seed(0))
    assert detection_error(raw, raw).item() == pytest.approx(0.0, abs=1e-4)


def test_an_object_missed_costs_its_cross_entropy_and_a_box_its_distribution_and_its_mean():
    teacher = nothing_seen()
    teacher[0, 3, 1] = CERTAIN
    student = teacher.clone()
    student[0, 3, 1] = 0.0
    assert detection_error(student, teacher).item() == pytest.approx(math.log(2), rel=1e-4)
    teacher[0, 3, 2] = CERTAIN  # the left side is certainly no distance away; the student says 3.5 strides
    apart = math.log(8) + 3.5 - 0.05
    assert detection_error(student, teacher).item() == pytest.approx(math.log(2) + apart, rel=1e-3)


def test_boxes_of_what_is_not_believed_do_not_count():
    teacher = nothing_seen()
    teacher[0, 3, 1] = math.log(MIN_BELIEF / (1 - MIN_BELIEF)) - 0.1
    student = teacher.clone()
    student[0, :, 2:] = torch.randn(32, generator=torch.Generator().manual_seed(0))
    assert detection_error(student, teacher).item() == 0.0


def test_the_recipes_find_the_stages_under_their_own_names():
    features = {"stage2": torch.randn(1, 4, 12, 12), "stage3": torch.randn(1, 4, 6, 6), "raw": nothing_seen()}
    terms = distillation_loss(features, features, {"dark3": 1.0, "dark4": 1.0, "raw": 1.0}, READING)
    assert terms.keys() == {"stage2", "stage3", "raw"}
    assert sum(term.item() for term in terms.values()) == pytest.approx(0.0, abs=1e-5)
