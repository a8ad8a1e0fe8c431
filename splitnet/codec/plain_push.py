"""rANS encoding without a compiler: the same bytes as the compiled loops, in some 20 times their time.

What does not depend on the coder's state is done for all symbols at once; one short loop of Python is left.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.entropy_model import ESCAPE_LENGTH_BITS, PRECISION_BITS
from splitnet.codec.rans_reference import STATE_MIN

STATE_BITS = 31  # the state stays below 2**STATE_BITS


class CodingTables(Protocol):
    """Of `rans.Tables`, what encoding reads."""

    @property
    def cdf(self) -> NDArray[np.int32]:
        """All rows of cumulative frequencies (total,)."""

    @property
    def start(self) -> NDArray[np.int32]:
        """Where each row begins (tables + 1,)."""

    @property
    def offset(self) -> NDArray[np.int32]:
        """The first symbol of each row (tables,)."""


class Pushing:
    """A coder's state, and the bytes that it has shed. What is pushed last is decoded first."""

    def __init__(self) -> None:
        self._state = STATE_MIN
        self._shed = bytearray()

    def push(self, low: NDArray[np.int32], share: NDArray[np.int32], bits: int) -> None:
        """Push intervals (n,) of 2**bits, the last one first."""
        state, shed, total, room = self._state, self._shed.append, 1 << bits, STATE_BITS - bits
        for begin, own in zip(low[::-1].tolist(), share[::-1].tolist(), strict=True):
            while state >> room >= own:
                shed(state & 0xFF)
                state >>= 8
            state += state // own * (total - own) + begin
        self._state = state

    def push_bits(self, value: int, bits: int) -> None:
        """Push a number of so many bits, each as likely as the other."""
        self.push(np.array([value], np.int32), np.ones(1, np.int32), bits)

    def payload(self) -> bytes:
        """Return the final state, big-endian, and the shed bytes, newest first."""
        return self._state.to_bytes(4, "big") + bytes(reversed(self._shed))


def push_symbols(symbols: NDArray[np.int16], indexes: NDArray[np.uint16], tables: CodingTables) -> bytes:
    """Return the payload of symbols (n,), each under the table that stands beside it (n,)."""
    first, escape = tables.start[indexes], tables.start[indexes.astype(np.int32) + 1] - 2
    entry = first + symbols - tables.offset[indexes]
    escapes = (entry < first) | (entry >= escape)
    known = np.where(escapes, escape, entry)
    low = tables.cdf[known]
    share = tables.cdf[known + 1] - low
    pushing, end = Pushing(), len(symbols)
    for at in np.flatnonzero(escapes)[::-1].tolist():
        pushing.push(low[at + 1 : end], share[at + 1 : end], PRECISION_BITS)
        beyond, below = int(entry[at] - escape[at]), int(first[at] - 1 - entry[at])
        magnitude = 2 * beyond if beyond >= 0 else 2 * below + 1
        length = (magnitude + 1).bit_length() - 1
        pushing.push_bits(magnitude + 1 - (1 << length), length)
        pushing.push_bits(length, ESCAPE_LENGTH_BITS)
        end = at + 1
    pushing.push(low[:end], share[:end], PRECISION_BITS)
    return pushing.payload()
