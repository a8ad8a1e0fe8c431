"""Random numbers by counting: the n-th of a seed is a function of both, the same on every machine, in every version.

SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), whose state is nothing but
a counter. Both ends of an update draw the same factors from it, so that these need not be sent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_BITS = 64


def words(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """Return the numbers first .. first + count - 1 of a seed (count,), counted from 0. All wraps around at 2**64."""
    counters = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(first % (1 << _BITS))
    state = np.uint64(seed % (1 << _BITS)) + counters * _STEP
    state = (state ^ (state >> np.uint64(30))) * _MIX[0]
    state = (state ^ (state >> np.uint64(27))) * _MIX[1]
    return np.asarray(state ^ (state >> np.uint64(31)))


def signs(seed: int, stream: int, rows: int, columns: int) -> NDArray[np.int64]:
    """Return a matrix (rows, columns) of -1 and 1, each from one bit. Streams of a seed have nothing in common."""
    count = rows * columns
    drawn = words(seed, stream << 40, -(-count // _BITS))
    bits = (drawn[:, None] >> np.arange(_BITS, dtype=np.uint64)) & np.uint64(1)
    return np.asarray(2 * bits.reshape(-1)[:count].astype(np.int64).reshape(rows, columns) - 1)
