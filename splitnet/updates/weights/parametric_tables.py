"""Tables of frequencies that two small numbers describe: how many symbols are not zero, and how far these reach.

The magnitudes are geometric, the signs even, or all positive (counts, masks). Everything is integers: a table is the
same wherever it is made, so an update need not carry any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.entropy_model import ESCAPE_LENGTH_BITS, PRECISION_BITS, TOTAL

SHARES = 57  # of symbols that are not zero: 2**(-j / 4), j = 0 ..
REACHES = 16  # mean magnitudes of these: 2**(i / 2), i = 0 ..
SIDES = 2  # even signs, or no negative ones
TABLES = 1 + SHARES * REACHES * SIDES  # and one of which every symbol is zero
EMPTY = 0
_WIDE = 6  # times the mean: what lies beyond is escaped
_FIRST_WEIGHT = 1 << 40
_UNIT_BITS = 20


@dataclass(frozen=True)
class Row:
    """One table: the symbols from `offset` on have these cumulative frequencies, the last entry is the escape."""

    offset: int
    cdf: NDArray[np.uint16]


def table_number(share: int, reach: int, is_one_sided: bool) -> int:
    """Return the number of a table that is not empty."""
    return 1 + (share * REACHES + reach) * SIDES + is_one_sided


@lru_cache(maxsize=256)
def row(number: int) -> Row:
    """Return a table. ValueError if there is none of that number, or the empty one."""
    if not 1 <= number < TABLES:
        raise ValueError(f"tables are numbered 1 .. {TABLES - 1}, not {number}")
    rest, is_one_sided = divmod(number - 1, SIDES)
    share, reach = divmod(rest, REACHES)
    nonzero = min(math.isqrt(math.isqrt(1 << (4 * PRECISION_BITS - share))), TOTAL - 2)  # of TOTAL
    sides = 1 if is_one_sided else 2
    magnitudes = _magnitudes(max(nonzero // sides, 1), reach)
    zero = TOTAL - 1 - sides * int(magnitudes.sum())
    below = [] if is_one_sided else magnitudes[::-1].tolist()
    cdf = np.cumsum([0, *below, zero, *magnitudes.tolist(), 1])
    return Row(-len(below), cdf.astype(np.uint16))


def _magnitudes(frequency: int, reach: int) -> NDArray[np.int64]:
    """Return integer frequencies of the magnitudes 1, 2, .. that sum up to at most a frequency, none below 1."""
    mean = math.isqrt(1 << reach)  # 2**(reach / 2), rounded down
    count = max(1, min(_WIDE * mean, frequency // 8)) if reach else 1
    ratio = (1 << _UNIT_BITS) - math.isqrt((1 << 2 * _UNIT_BITS) >> reach)  # 1 - 1 / mean
    weights, weight = [], _FIRST_WEIGHT
    for _ in range(count):
        weights.append(weight)
        weight = weight * ratio >> _UNIT_BITS
    total = sum(weights)
    return np.array([max(1, one * (frequency - count) // total) for one in weights], np.int64)


def bits(number: int, values: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Return the code length of values (n,), each so many times (n,), under a table; infinite if it cannot be."""
    if number == EMPTY:
        return 0.0 if not values.any() else math.inf
    table = row(number)
    frequencies = np.diff(table.cdf.astype(np.int64))
    entries = values - table.offset
    regular = len(frequencies) - 1
    is_escaped = (entries < 0) | (entries >= regular)
    costs = PRECISION_BITS - np.log2(frequencies[np.where(is_escaped, regular, entries)])
    beyond = np.where(entries < 0, -2 * entries - 1, 2 * (entries - regular))
    costs = costs + is_escaped * (ESCAPE_LENGTH_BITS + np.floor(np.log2(np.where(is_escaped, beyond, 0) + 1.0)))
    return float(counts @ costs)


def best(symbols: NDArray[np.integer]) -> int:
    """Return the number of the table that codes symbols in the fewest bits, of those near their own figures."""
    values, counts = np.unique(symbols.astype(np.int64), return_counts=True)
    if not values.any():
        return EMPTY
    nonzero = int(counts[values != 0].sum())
    share = round(-4 * math.log2(nonzero / counts.sum()))
    reach = round(2 * math.log2(max(1.0, float(np.abs(values) @ counts) / nonzero)))
    sides = (False,) if values[0] < 0 else (False, True)
    candidates = [
        table_number(own_share, own_reach, side)
        for own_share in range(max(0, share - 2), min(SHARES, share + 3))
        for own_reach in range(max(0, reach - 2), min(REACHES, reach + 3))
        for side in sides
    ]
    fallback = table_number(min(share, SHARES - 1), min(reach, REACHES - 1), False)
    return min(candidates, key=lambda one: bits(one, values, counts), default=fallback)
