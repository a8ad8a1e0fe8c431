"""A student's reading of an EfficientDet, on cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.detectors.efficientdet.reading import MIN_BELIEF, READING, attention, detection_error
from training.distillation.losses import distillation_loss

CELLS = 4  # a square of 64 pixels: levels of 8, 4, 2, 1 and 1 positions a side
SIZES = (64, 16, 4, 1, 1)
ANCHORS = 9 * sum(SIZES)
CERTAIN = 20.0


def nothing_seen(classes: int = 2) -> torch.Tensor:
    raw = torch.zeros(1, ANCHORS, 4 + classes)
    raw[..., 4:] = -CERTAIN
    return raw


def seen(anchor: int) -> torch.Tensor:
    raw = nothing_seen()
    raw[0, anchor, 5] = CERTAIN
    return attention(raw, CELLS)[0, 0]


def test_attention_is_nowhere_where_nothing_is_seen():
    assert float(attention(nothing_seen(), CELLS).max()) < 1e-6


def test_an_anchor_of_the_finest_level_draws_attention_to_its_position_and_the_neighbours():
    first = seen(5).round()  # one of the first cell's nine
    assert first[:2, :2].sum() == first.sum() == 4
    last = seen(9 * 64 - 1).round()
    assert last[2:, 2:].sum() == last.sum() == 4


def test_a_coarse_anchor_draws_attention_to_all_that_it_covers():
    quarter = seen(9 * (64 + 16)).round()  # the first cell of 2 x 2
    assert quarter[:3, :3].sum() == quarter.sum() == 9
    assert seen(ANCHORS - 1).round().sum() == 16


def test_a_perfect_copy_has_no_error():
    raw = torch.randn(2, ANCHORS, 7, generator=torch.Generator().manual_seed(0))
    assert detection_error(raw, raw).item() == pytest.approx(0.0, abs=1e-4)


def test_an_object_missed_costs_its_cross_entropy_and_the_distance_of_its_box():
    teacher = nothing_seen()
    teacher[0, 3, 4] = CERTAIN
    student = teacher.clone()
    student[0, 3, 4] = 0.0
    assert detection_error(student, teacher).item() == pytest.approx(math.log(2), rel=1e-4)
    student[0, 3, 0] = 1.0  # by smooth L1: 1 - 0.05
    assert detection_error(student, teacher).item() == pytest.approx(math.log(2) + 0.95, rel=1e-4)


def test_a_ghost_costs_where_the_teacher_sees_nothing():
    student = nothing_seen()
    student[0, 7, 5] = CERTAIN
    assert detection_error(student, nothing_seen()).item() == pytest.approx(CERTAIN, rel=1e-3)


def test_what_neither_believes_does_not_matter():
    faint = math.log(MIN_BELIEF / 2)
    teacher, student = nothing_seen(), nothing_seen()
    teacher[0, 1, 4], student[0, 2, 4], student[0, :, :4] = faint, faint, 3.0
    assert detection_error(student, teacher).item() == 0.0


def test_stages_go_by_their_own_names():
    outputs = {"c4": torch.randn(1, 3, CELLS, CELLS), "raw": nothing_seen()}
    terms = distillation_loss(outputs, outputs, {"dark3": 1.0, "dark4": 2.0, "raw": 0.5}, READING)
    assert {name: term.item() for name, term in terms.items()} == {"c4": 0.0, "raw": 0.0}
