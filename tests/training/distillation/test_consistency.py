"""What holds latents still: exact values, and its place in a training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from tests.support.tiny_student import SQUARE, make_teacher, random_images, student_spec
from training.distillation.consistency import consistency_loss, unchanged_positions
from training.distillation.recipe import ENSEMBLE
from training.distillation.task import Distillation, DistillConfig

CONFIG = DistillConfig(SQUARE, replace(ENSEMBLE, prices=(2.0, 0.2)), consistency=3.0)


def latents(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_within_half_a_step_moving_is_free_and_beyond_it_counts_squared_either_way():
    first, second = latents(0.0, 0.0, 1.0, 0.0), latents(0.5, 1.5, -1.5, 0.25)
    assert consistency_loss(first, second, torch.ones(1, 1, 1, 4)).item() == (0 + 1.0 + 4.0 + 0) / 4


def test_only_unchanged_positions_count_and_their_channels_are_averaged():
    first = torch.zeros(1, 2, 1, 2)
    second = torch.tensor([[[[1.5, 9.0]], [[2.5, 9.0]]]])
    assert consistency_loss(first, second, latents(1.0, 0.0)).item() == (1.0 + 4.0) / 2


def test_where_all_has_changed_the_loss_is_zero():
    assert consistency_loss(latents(0.0), latents(9.0), latents(0.0)).item() == 0.0


def test_latents_are_pulled_together_only_where_they_are_too_far_apart():
    first, second = latents(0.0, 0.0).requires_grad_(), latents(2.5, 0.5)
    consistency_loss(first, second, torch.ones(1, 1, 1, 2)).backward()
    assert first.grad is not None
    assert first.grad.flatten().tolist() == [-2.0, 0.0]


def test_a_cell_that_differs_makes_those_around_it_changed_and_noise_does_not():
    first = torch.zeros(1, 3, 16, 80)
    second = first + 3.9
    second[..., :16] = 8.0
    assert unchanged_positions(first, second).flatten().tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]


def draw_pair(draw: np.random.Generator) -> np.ndarray:
    return draw.integers(0, 3, (2, 1, SQUARE, SQUARE, 3)).astype(np.uint8) * 2


def test_a_training_has_the_term_with_its_weight_and_draws_the_same_pairs_again():
    def figures() -> dict[str, list[float]]:
        task = Distillation(CONFIG, student_spec(), make_teacher(), neighbours=draw_pair)
        with torch.no_grad():
            task.student.quantiser.log_gain += 6  # a step so fine that noise moves latents by many
        return task.train(random_images(2), 0.5)

    first, again = figures(), figures()
    assert first["consistency"][0] > 0
    assert first == again


def test_without_a_weight_nothing_is_drawn():
    def never(draw: np.random.Generator) -> np.ndarray:
        raise AssertionError

    task = Distillation(replace(CONFIG, consistency=0.0), student_spec(), make_teacher(), neighbours=never)
    assert "consistency" not in task.train(random_images(2), 0.5)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_cannot_be_is_refused(weight):
    with pytest.raises(ConfigError, match="--consistency must be 0 or more"):
        replace(CONFIG, consistency=weight)
