"""What a student is told: zero for a perfect copy, exact values in small cases, and never a NaN."""

from __future__ import annotations

import math

import pytest
import torch

from training.distillation.losses import (
    MIN_BELIEF,
    OBJECT_WEIGHT,
    attention,
    detection_error,
    distillation_loss,
    feature_error,
)

CELLS = 2  # a square of 32 pixels: 16 + 4 + 1 anchors
ANCHORS = 4 * CELLS**2 + CELLS**2 + (CELLS // 2) ** 2
CERTAIN = 20.0  # as a logit; its negative is certain too
ONES = torch.ones(1, 1, 1, 1)


def predictions(images: int = 1, classes: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(images, ANCHORS, 5 + classes, generator=torch.Generator().manual_seed(seed))


def nothing_seen(images: int = 1, cells: int = CELLS, classes: int = 3) -> torch.Tensor:
    return torch.full((images, 4 * cells**2 + cells**2 + (cells // 2) ** 2, 5 + classes), -CERTAIN)


def test_a_perfect_copy_has_no_error():
    raw, features = predictions(2), torch.randn(2, 4, 4, 4)
    assert detection_error(raw, raw).item() == pytest.approx(0.0, abs=1e-5)
    assert feature_error(features, features, torch.ones(2, 1, 1, 1)).item() == 0.0


def test_the_mean_of_the_features_has_error_one():
    teacher = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mean = teacher.mean(dim=(0, 2, 3), keepdim=True).expand_as(teacher)
    assert feature_error(mean, teacher, torch.ones(2, 1, 1, 1)).item() == pytest.approx(1.0, rel=0.01)


def test_the_feature_error_is_relative_to_the_variance():
    teacher = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(1, 1, 2, 2)  # variance 4/3
    assert feature_error(teacher + 2, teacher, ONES).item() == pytest.approx(4 / (4 / 3))


def test_the_weight_says_where_an_error_counts():
    teacher = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(1, 1, 2, 2)
    student = teacher.clone()
    student[..., 0, 0] += 1.0
    weight = torch.ones(1, 1, 2, 2)
    weight[..., 0, 0] = 5.0
    assert feature_error(student, teacher, weight).item() == pytest.approx(5 / 8 / (4 / 3))


def test_the_weight_is_brought_to_the_size_of_finer_features():
    weight = torch.tensor([[5.0, 1.0], [1.0, 1.0]])[None, None]
    teacher = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    heavy, light = teacher.clone(), teacher.clone()
    heavy[..., 1, 1] += 1.0
    light[..., 2, 2] += 1.0
    assert feature_error(heavy, teacher, weight) == pytest.approx(5 * feature_error(light, teacher, weight).item())


def test_features_without_any_variance_give_a_finite_error():
    assert torch.isfinite(feature_error(torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), ONES))


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


def outputs(seed: int, images: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"dark3": (4, 2 * CELLS), "dark4": (8, CELLS), "p5": (8, CELLS // 2)}
    features = {n: torch.randn(images, c, s, s, generator=generator) for n, (c, s) in shapes.items()}
    return {**features, "raw": predictions(images, seed=seed)}


WEIGHTS = {"dark3": 1.0, "dark4": 0.5, "p5": 0.7, "raw": 0.25}


def test_every_term_of_a_perfect_copy_is_zero():
    terms = distillation_loss(outputs(0), outputs(0), WEIGHTS)
    assert set(terms) == set(WEIGHTS)
    assert sum(terms.values()).item() == pytest.approx(0.0, abs=1e-5)


def test_terms_are_weighted():
    once = distillation_loss(outputs(1), outputs(0), WEIGHTS)
    twice = distillation_loss(outputs(1), outputs(0), {name: 2 * weight for name, weight in WEIGHTS.items()})
    for name, term in once.items():
        assert twice[name].item() == pytest.approx(2 * term.item(), rel=1e-6)


def test_outputs_without_weight_or_not_there_are_left_out():
    student = outputs(1)
    del student["p5"]
    assert set(distillation_loss(student, outputs(0), {**WEIGHTS, "dark3": 0.0})) == {"dark4", "raw"}


def test_errors_count_more_where_the_teacher_sees_an_object():
    teacher = outputs(0, images=1)
    cells = 4
    teacher["dark4"] = torch.randn(1, 8, cells, cells, generator=torch.Generator().manual_seed(0))
    teacher["raw"] = nothing_seen(cells=cells)
    teacher["raw"][0, 4 * cells**2, 4:] = CERTAIN  # seen at row 0, column 0

    def error_at(row: int, column: int) -> float:
        student = {"dark4": teacher["dark4"].clone()}
        student["dark4"][..., row, column] += 1.0
        return distillation_loss(student, teacher, {"dark4": 1.0})["dark4"].item()

    assert error_at(0, 0) == pytest.approx((1 + OBJECT_WEIGHT) * error_at(3, 3), rel=1e-3)


def test_gradients_flow_into_every_output():
    student = {name: value.requires_grad_() for name, value in outputs(1).items()}
    torch.stack(list(distillation_loss(student, outputs(0), WEIGHTS).values())).sum().backward()
    for name in WEIGHTS:
        assert student[name].grad is not None
        assert student[name].grad.abs().sum() > 0
