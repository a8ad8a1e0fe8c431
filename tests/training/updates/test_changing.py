"""Changes as they are trained: what a symbol moves."""

from __future__ import annotations

import math

import pytest
import torch

from splitnet.updates.weights.families import DENSE, FACTORS, INPUTS, OUTPUTS, STEPS_AN_OCTAVE
from training.updates.changing import Changing

STEP = 0.25
CODE = -2 * STEPS_AN_OCTAVE


@pytest.mark.parametrize(
    ("family", "latents", "reach"),
    [
        (DENSE, [torch.zeros(12)], STEP),
        (OUTPUTS, [torch.zeros(3)], 2 * STEP),
        (INPUTS, [torch.zeros(4)], 2 * STEP),
        (FACTORS, [torch.full((3,), 5.0), torch.full((4,), 5.0)], 5 * STEP),
        (FACTORS, [torch.zeros(3), torch.zeros(4)], STEP),
    ],
)
def test_the_reach_of_a_symbol_is_what_weights_change_by(family, latents, reach):
    change = Changing(family, (3, 4), CODE, latents, seed=0)
    assert change.reach(torch.full((3, 4), -2.0)) == pytest.approx(reach)


def test_the_reach_is_what_the_change_itself_does():
    base = torch.full((3, 4), 2.0)
    for family, count in ((DENSE, 12), (OUTPUTS, 3), (INPUTS, 4)):
        change = Changing(family, (3, 4), CODE, [torch.ones(count)], seed=0)
        moved = change(base).detach().square().mean().sqrt()
        assert math.isclose(float(moved), change.reach(base), rel_tol=1e-6)
