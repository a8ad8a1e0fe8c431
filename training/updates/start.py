"""Where an update's training begins: at what the fully trained weights differ by, as coarse as its price asks for.

A symbol's step is where a finer one would cost more bits than it saves loss. With a curvature h of the loss and a
weight of w for each bit, a uniform quantiser at high rate gives step**2 = 6 w / (h ln 2) (from its distortion
step**2 / 12 and one bit for each halving; Gish and Pierce, 1968).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitnet.updates.weights.families import (
    BASIS,
    DENSE,
    FACTORS,
    INPUTS,
    MAX_STEP_CODE,
    OUTPUTS,
    SEEDED,
    STEPS_AN_OCTAVE,
    basis_terms,
    has_family,
    matrix_shape,
    most_rank,
    seeded_columns,
)
from training.updates.changing import Changing

FAINT = 0.3  # mean size of a component's symbols, below which it starts as nothing
BASIS_TERMS = 24
BASIS_SYMBOL = 4.0  # typical size of a basis's weights
LARGEST = 100.0  # symbol to start with
SPARSE, SCALES = "sparse", "scales"  # in settings: dense changes of matrices; outputs and inputs
CHOICES = (DENSE, SCALES, FACTORS, SEEDED, BASIS, SPARSE)


@dataclass(frozen=True)
class Price:
    """What decides how coarse a tensor's change is."""

    curvature: float  # of the loss, a weight of the tensor
    bit_weight: float  # units of the loss

    @property
    def step(self) -> float:
        """The best step of a plain difference."""
        return math.sqrt(6 * self.bit_weight / (self.curvature * math.log(2)))


def changes_from(
    base: Tensor, difference: Tensor, price: Price, choices: Sequence[str], rank: int, seed: int
) -> list[Changing]:
    """Return how a tensor begins to change, for a difference that full training has found.

    choices: of CHOICES. Of several families with ranks, the one is taken that is cheapest for what it leaves.
    """
    shape, rest = tuple(base.shape), difference.float().clone()
    found: list[Changing] = []
    is_matrix = has_family(shape, FACTORS)
    if SCALES in choices and has_family(shape, OUTPUTS):
        for family in (OUTPUTS, INPUTS) if is_matrix else (OUTPUTS,):
            found.append(_scales(base.float(), rest, price, family, seed))
            rest = rest - found[-1](base.float()).detach()
    if is_matrix:
        ranked = [_ranked(family, rest, price, rank, seed) for family in (FACTORS, SEEDED, BASIS) if family in choices]
        fitting = [one for one in ranked if one is not None]
        if fitting:
            found.append(min(fitting, key=lambda one: _cost(one, base.float(), rest, price)))
            rest = rest - found[-1](base.float()).detach()
    if (SPARSE if is_matrix else DENSE) in choices:
        found.append(Changing(DENSE, shape, step_code(price.step), [_bounded(rest / price.step).reshape(-1)], seed))
    return found


def step_code(step: float) -> float:
    """Return a step in quarter octaves."""
    return max(-MAX_STEP_CODE, min(MAX_STEP_CODE, round(STEPS_AN_OCTAVE * math.log2(step))))


def _cost(one: Changing, base: Tensor, difference: Tensor, price: Price) -> float:
    """Return what a change leaves and takes, in units of the loss."""
    with torch.no_grad():
        left = float((difference - one(base)).pow(2).sum())
        return price.curvature * left / 2 + price.bit_weight * float(one.bits())


def _scales(base: Tensor, difference: Tensor, price: Price, family: str, seed: int) -> Changing:
    others = [axis for axis in range(base.dim()) if axis != (0 if family == OUTPUTS else 1)]
    energy = base.pow(2).sum(others)
    scale = (difference * base).sum(others) / energy.clamp(min=1e-12)
    step = price.step / math.sqrt(max(float(energy.mean()), 1e-12))
    return Changing(family, base.shape, step_code(step), [_bounded(scale / step)], seed)


def _ranked(family: str, difference: Tensor, price: Price, rank: int, seed: int) -> Changing | None:
    shape = tuple(difference.shape)
    matrix = difference.reshape(matrix_shape(shape))
    most = min(rank, most_rank(shape))
    if family == FACTORS:
        return _factors(matrix, shape, price, most, seed)
    if family == SEEDED:
        columns = torch.from_numpy(seeded_columns(shape, most, seed)).float()
        step = price.step / math.sqrt(matrix.shape[0])
        rows = torch.linalg.lstsq(columns, matrix).solution
        return Changing(SEEDED, shape, step_code(step), list(_bounded(rows / step)), seed)
    return _basis(matrix, shape, price, seed)


def _factors(matrix: Tensor, shape: tuple[int, ...], price: Price, rank: int, seed: int) -> Changing | None:
    """Return the leading components whose symbols would not all be zero; None if there are none."""
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    rows, columns = matrix.shape
    if float(sizes[0]) <= 0:
        return None
    # A symbol of one factor weighs as much as the other factor is long: so the product of both lengths is sizes / step.
    step = price.step**2 / float(sizes[0])
    latents: list[Tensor] = []
    for component in range(rank):
        length = math.sqrt(float(sizes[component]) / step)
        if length / (rows * columns) ** 0.25 < FAINT:
            break
        tilt = (rows / columns) ** 0.25
        latents += [_bounded(left[:, component] * length * tilt), _bounded(right[component] * length / tilt)]
    return Changing(FACTORS, shape, step_code(step), latents, seed) if latents else None


def _basis(matrix: Tensor, shape: tuple[int, ...], price: Price, seed: int) -> Changing | None:
    terms = min(BASIS_TERMS, most_rank(shape))
    left_terms, right_terms = (torch.from_numpy(one).float() for one in basis_terms(shape, terms, seed))
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    weights = [
        torch.linalg.lstsq(one.T, vector[:, None]).solution[:, 0]
        for one, vector in ((left_terms, left[:, 0]), (right_terms, right[0]))
    ]
    norms = [float(one.pow(2).mean().sqrt()) / BASIS_SYMBOL for one in weights]
    step = float(sizes[0]) * norms[0] * norms[1]
    if step <= 0:
        return None
    latents = [_bounded(one / norm) for one, norm in zip(weights, norms, strict=True)]
    return Changing(BASIS, shape, step_code(step), latents, seed)


def _bounded(latents: Tensor) -> Tensor:
    return latents.clamp(-LARGEST, LARGEST)
