"""The ways in which a tensor changes, and the exact sum of them.

    w = w0 + dense + w0 * outputs + w0 * inputs + factors + seeded + basis        (each where there is one)

Every way is integers times a step. Products of matrices are sums of integers below 2**53, so they are exact in float64
in whatever order a machine adds; everything else is one operation for each weight, in the order above. So all machines
get the same bits.

dense: a difference for each weight. outputs, inputs: a relative change for each channel. factors: A (m, r) times
B (r, n), both sent. seeded: A of random signs, only B sent (structured updates, Konecny et al., arXiv 1610.05492).
basis: both are sums of random signs, only their weights sent (NOLA, Koohpayegani et al., arXiv 2310.02556). A
convolution's weight counts as a matrix of its first axis against the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ldexp, prod

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import UpdateError
from splitnet.updates.weights.counter_random import signs

DENSE, OUTPUTS, INPUTS, FACTORS, SEEDED, BASIS = FAMILIES = ("dense", "outputs", "inputs", "factors", "seeded", "basis")
RANKED = (FACTORS, SEEDED, BASIS)  # with a rank, or a number of terms of each sum
MAX_RANK = 64
STEPS_AN_OCTAVE = 4
_MANTISSAS = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)  # 2**(0 / 4) .. 2**(3 / 4)
MAX_STEP_CODE = 160
_EXACT = 1 << 53

Integers = NDArray[np.int16]
Reals = NDArray[np.float64]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """A tensor's change in one way. parts: dense: one of the tensor's size; channels: one; matrices: what is sent."""

    step_code: int  # quarter octaves
    parts: tuple[Integers, ...]
    rank: int = 0  # of RANKED


@dataclass(frozen=True)
class TensorChange:
    """All that changes in a tensor, by family."""

    changes: Mapping[str, Change] = field(default_factory=dict)


def step_of(code: int) -> float:
    """Return the size of a quantisation step. Literals and powers of two: no machine's logarithm is asked."""
    octave, quarter = divmod(code, STEPS_AN_OCTAVE)
    return ldexp(_MANTISSAS[quarter], octave)


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """Return a tensor's rows and columns."""
    return (shape[0], prod(shape[1:])) if len(shape) > 1 else (prod(shape), 1)


def has_family(shape: Shape, family: str) -> bool:
    """Return whether a tensor can change in a way. Layers of one channel each have no rank, and no input to scale."""
    is_matrix = len(shape) > 1 and min(matrix_shape(shape)) > 1
    if family == DENSE:
        return True
    return is_matrix and (family == OUTPUTS or shape[1] > 1)


def most_rank(shape: Shape) -> int:
    """Return the highest rank, or number of terms, that a tensor's change may have."""
    return min(*matrix_shape(shape), MAX_RANK)


def part_sizes(shape: Shape, family: str, rank: int) -> tuple[int, ...]:
    """Return how many integers each part of a change has."""
    rows, columns = matrix_shape(shape)
    sizes = {
        DENSE: (rows * columns,),
        OUTPUTS: (rows,),
        INPUTS: (shape[1] if len(shape) > 1 else 0,),
        FACTORS: (rows, columns) * rank,  # components one after the other: later ones are fainter
        SEEDED: (columns,) * rank,
        BASIS: (rank, rank),
    }
    return sizes[family]


def changed(base: Reals, change: TensorChange, seed: int) -> Reals:
    """Return a tensor after its change, float64. base: float64, left as it is. seed: of the random signs.

    Raises UpdateError if integers are so large that sums of them would not be exact.
    """
    result: Reals = base.copy()
    changes = change.changes
    if DENSE in changes:
        result += _scaled(changes[DENSE], 0).reshape(base.shape)
    if OUTPUTS in changes:
        result += base * _scaled(changes[OUTPUTS], 0).reshape(-1, *[1] * (base.ndim - 1))
    if INPUTS in changes:
        result += base * _scaled(changes[INPUTS], 0).reshape(1, -1, *[1] * (base.ndim - 2))
    for family in RANKED:
        if family in changes:
            left, right = _matrices(base.shape, family, changes[family], seed)
            result += (_product(left, right) * step_of(changes[family].step_code)).reshape(base.shape)
    return result


def _scaled(change: Change, part: int) -> Reals:
    return np.asarray(change.parts[part].astype(np.float64) * step_of(change.step_code))


def _matrices(shape: Shape, family: str, change: Change, seed: int) -> tuple[Reals, Reals]:
    if family == FACTORS:
        left, right = np.stack(change.parts[::2], 1), np.stack(change.parts[1::2])
        return left.astype(np.float64), right.astype(np.float64)
    if family == SEEDED:
        return seeded_columns(shape, change.rank, seed), np.stack(change.parts).astype(np.float64)
    left_terms, right_terms = basis_terms(shape, change.rank, seed)
    weights_left, weights_right = (part.astype(np.float64) for part in change.parts)
    return (weights_left @ left_terms)[:, None], (weights_right @ right_terms)[None]


def seeded_columns(shape: Shape, rank: int, seed: int) -> Reals:
    """Return the matrix A (rows, rank) of a `seeded` change."""
    return signs(seed, 0, matrix_shape(shape)[0], rank).astype(np.float64)


def basis_terms(shape: Shape, terms: int, seed: int) -> tuple[Reals, Reals]:
    """Return what columns (terms, rows) and rows (terms, columns) of a `basis` are sums of."""
    rows, columns = matrix_shape(shape)
    return signs(seed, 1, terms, rows).astype(np.float64), signs(seed, 2, terms, columns).astype(np.float64)


def _product(left: Reals, right: Reals) -> Reals:
    largest = float(np.abs(left).max(initial=0)) * float(np.abs(right).max(initial=0)) * left.shape[1]
    if largest >= _EXACT:
        raise UpdateError("the factors of an update are too large to be multiplied exactly")
    return left @ right


def symbols_of(changes: Sequence[TensorChange]) -> int:
    """Return how many integers changes have."""
    return sum(part.size for one in changes for change in one.changes.values() for part in change.parts)
