"""What changes between frames cost a training: exact values, and their place in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from tests.support.tiny_student import SQUARE, make_teacher, random_images, student_spec
from training.distillation.consistency import change_bits
from training.distillation.recipe import ENSEMBLE
from training.distillation.task import Distillation, DistillConfig

CONFIG = DistillConfig(SQUARE, replace(ENSEMBLE, prices=(2.0, 0.2)), consistency=3.0)


def latents(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_a_change_counts_the_logarithm_of_one_and_its_square_in_steps_of_three_quarters_either_way():
    first, second = latents(0.0, 0.0, 1.0), latents(0.0, 0.75, 1.0 - 0.75 * 15**0.5)
    assert change_bits(first, second).tolist() == pytest.approx([0 + 1 + 4])


def test_each_pair_is_counted_by_itself_over_all_channels_and_positions():
    first, second = torch.zeros(2, 2, 1, 2), torch.full((2, 2, 1, 2), 0.75)
    second[1] = 0
    assert change_bits(first, second).tolist() == [4.0, 0.0]


def test_latents_are_pulled_together_and_most_where_the_device_just_lets_go_of_a_symbol():
    first, second = latents(0.0, 0.0, 0.0).requires_grad_(), latents(0.05, 0.75, 7.5)
    change_bits(first, second).sum().backward()
    assert first.grad is not None
    small, middle, large = (-first.grad.flatten()).tolist()
    assert 0 < small < large < middle


def draw_pair(draw: np.random.Generator) -> np.ndarray:
    return draw.integers(0, 3, (2, 1, SQUARE, SQUARE, 3)).astype(np.uint8) * 2


def test_a_training_has_the_term_with_its_weight_and_draws_the_same_pairs_again():
    def figures() -> dict[str, list[float]]:
        task = Distillation(CONFIG, student_spec(), make_teacher(), neighbours=draw_pair)
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
