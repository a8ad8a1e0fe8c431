"""Recipes over the steps of a distillation: exact values at the borders, for each kind of encoder."""

import pytest

from training.distillation.recipe import ENSEMBLE, FEATURE_STAGE, FRONT, PRICE_RAMP, RECIPES, Recipe

BEFORE = 1e-9
JOINT, FIRST_PRICE = ENSEMBLE.joint_from, ENSEMBLE.first_price


def test_the_stages_of_an_ensemble_change_at_one_step():
    assert not ENSEMBLE.is_joint(0.0)
    assert not ENSEMBLE.is_joint(JOINT - BEFORE)
    assert ENSEMBLE.is_joint(JOINT)
    assert ENSEMBLE.is_joint(1.0)


def test_each_stage_has_its_losses():
    assert ENSEMBLE.loss_weights(JOINT - BEFORE) is FEATURE_STAGE
    assert ENSEMBLE.loss_weights(JOINT) is ENSEMBLE.joint_weights
    assert "raw" not in FEATURE_STAGE
    assert set(FEATURE_STAGE) < set(ENSEMBLE.joint_weights)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.0, FIRST_PRICE / 2),
        (PRICE_RAMP / 2, FIRST_PRICE**0.5 / 2),
        (JOINT - BEFORE, FIRST_PRICE ** (1 - JOINT / PRICE_RAMP) / 2),
        (JOINT, FIRST_PRICE ** (1 - JOINT / PRICE_RAMP)),
        (PRICE_RAMP, 1.0),
        (1.0, 1.0),
    ],
)
def test_bits_of_an_ensemble_get_dearer(progress, factor):
    assert ENSEMBLE.price_factor(progress) == pytest.approx(factor)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_a_front_learns_everything_at_full_price_from_the_first_step(progress):
    assert FRONT.is_joint(progress)
    assert FRONT.price_factor(progress) == 1.0
    assert FRONT.loss_weights(progress) is FRONT.joint_weights
    assert FRONT.joint_weights["raw"] > 0


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_fewer_bytes_cost_more_a_bit(recipe: Recipe):
    assert list(recipe.prices) == sorted(recipe.prices, reverse=True)
    assert recipe.qualities == len(recipe.prices) == 6
