"""Schedules of the learning rate: exact values at the borders."""

import pytest

from training.loop.schedule import WARM_UP, learning_rate

BEFORE = 1e-9


def test_a_longer_warm_up_rises_slower_and_ends_at_the_same_rate():
    assert learning_rate(0.05, warm_up=0.1) == pytest.approx(0.5)
    assert learning_rate(0.1, warm_up=0.1) == pytest.approx(1.0)
    assert learning_rate(0.55, warm_up=0.1) == pytest.approx(0.505)
    assert learning_rate(1.0, warm_up=0.1) == pytest.approx(0.01)


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
