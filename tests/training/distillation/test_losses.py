"""Losses of a student: zero for a perfect copy, exact values in small cases, and never a NaN."""

from __future__ import annotations

import pytest
import torch

from tests.training.detectors.yolox.predictions import CELLS, CERTAIN, nothing_seen, predictions
from training.detectors.yolox.reading import READING
from training.distillation.losses import (
    OBJECT_WEIGHT,
    distillation_loss,
    feature_error,
)

ONES = torch.ones(1, 1, 1, 1)


def test_a_perfect_copy_has_no_error():
    features = torch.randn(2, 4, 4, 4)
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


def outputs(seed: int, images: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"dark3": (4, 2 * CELLS), "dark4": (8, CELLS), "p5": (8, CELLS // 2)}
    features = {n: torch.randn(images, c, s, s, generator=generator) for n, (c, s) in shapes.items()}
    return {**features, "raw": predictions(images, seed=seed)}


WEIGHTS = {"dark3": 1.0, "dark4": 0.5, "p5": 0.7, "raw": 0.25}


def test_every_term_of_a_perfect_copy_is_zero():
    terms = distillation_loss(outputs(0), outputs(0), WEIGHTS, READING)
    assert set(terms) == set(WEIGHTS)
    assert sum(terms.values()).item() == pytest.approx(0.0, abs=1e-5)


def test_terms_are_weighted():
    once = distillation_loss(outputs(1), outputs(0), WEIGHTS, READING)
    twice = distillation_loss(outputs(1), outputs(0), {name: 2 * weight for name, weight in WEIGHTS.items()}, READING)
    for name, term in once.items():
        assert twice[name].item() == pytest.approx(2 * term.item(), rel=1e-6)


def test_outputs_without_weight_or_not_there_are_left_out():
    student = outputs(1)
    del student["p5"]
    assert set(distillation_loss(student, outputs(0), {**WEIGHTS, "dark3": 0.0}, READING)) == {"dark4", "raw"}


def test_errors_count_more_where_the_teacher_sees_an_object():
    teacher = outputs(0, images=1)
    cells = 4
    teacher["dark4"] = torch.randn(1, 8, cells, cells, generator=torch.Generator().manual_seed(0))
    teacher["raw"] = nothing_seen(cells=cells)
    teacher["raw"][0, 4 * cells**2, 4:] = CERTAIN  # seen at row 0, column 0

    def error_at(row: int, column: int) -> float:
        student = {"dark4": teacher["dark4"].clone()}
        student["dark4"][..., row, column] += 1.0
        return distillation_loss(student, teacher, {"dark4": 1.0}, READING)["dark4"].item()

    assert error_at(0, 0) == pytest.approx((1 + OBJECT_WEIGHT) * error_at(3, 3), rel=1e-3)


def test_gradients_flow_into_every_output():
    student = {name: value.requires_grad_() for name, value in outputs(1).items()}
    torch.stack(list(distillation_loss(student, outputs(0), WEIGHTS, READING).values())).sum().backward()
    for name in WEIGHTS:
        assert student[name].grad is not None
        assert student[name].grad.abs().sum() > 0
