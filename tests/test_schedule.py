"""What changes over the steps: exact values at the borders."""

import pytest

from training.schedule import (
    FEATURE_STAGE,
    FIRST_PRICE,
    JOINT,
    JOINT_STAGE,
    PRICE_RAMP,
    WARM_UP,
    is_joint,
    learning_rate,
    loss_weights,
    price_factor,
)

BEFORE = 1e-9


def test_the_stages_change_at_one_step():
    assert not is_joint(0.0)
    assert not is_joint(JOINT - BEFORE)
    assert is_joint(JOINT)
    assert is_joint(1.0)


def test_a_longer_warm_up_rises_slower_and_ends_at_the_same_rate():
    assert learning_rate(0.05, warm_up=0.1) == pytest.approx(0.5)
    assert learning_rate(0.1, warm_up=0.1) == pytest.approx(1.0)
    assert learning_rate(0.55, warm_up=0.1) == pytest.approx(0.505)
    assert learning_rate(1.0, warm_up=0.1) == pytest.approx(0.01)


def test_each_stage_has_its_losses():
    assert loss_weights(JOINT - BEFORE) is FEATURE_STAGE
    assert loss_weights(JOINT) is JOINT_STAGE
    assert "raw" not in FEATURE_STAGE
    assert set(FEATURE_STAGE) < set(JOINT_STAGE)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.0, 0.05),  # never zero: the first step must do something
        (WARM_UP / 2, 0.5),
        (WARM_UP - BEFORE, 1.0),
        (WARM_UP, 1.0),
        (WARM_UP + (1 - WARM_UP) / 2, 0.505),
        (1.0, 0.01),
    ],
)
def test_the_learning_rate_rises_and_then_falls_along_a_cosine(progress, factor):
    assert learning_rate(progress) == pytest.approx(factor, abs=1e-6)


def test_the_learning_rate_never_rises_after_the_warm_up():
    rates = [learning_rate(WARM_UP + i / 1000 * (1 - WARM_UP)) for i in range(1001)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.0, FIRST_PRICE),
        (PRICE_RAMP / 2, FIRST_PRICE**0.5),
        (JOINT - BEFORE, FIRST_PRICE ** (1 - JOINT / PRICE_RAMP)),
        (JOINT, 2 * FIRST_PRICE ** (1 - JOINT / PRICE_RAMP)),
        (PRICE_RAMP, 2.0),
        (1.0, 2.0),
    ],
)
def test_bits_get_dearer(progress, factor):
    assert price_factor(progress) == pytest.approx(factor)
