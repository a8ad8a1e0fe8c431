"""Contexts of symbols: the table of its channel, or one chosen by the neighbours coded before it.

Where the neighbours are large, so is the symbol, and often with their sign. All is integers, so both ends choose alike.
A change to the rule is another context model, with a number of its own in the bitstream's header.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALONE = 0  # the context of a symbol whose neighbours are not looked at: the channel's own table
NEIGHBOURHOODS = 9  # that are told apart: contexts 1 to 9
CONTEXTS = 1 + NEIGHBOURHOODS

_NEAR, _FAR = 2, 5  # weighted sums from which on the neighbours have a sign, and a strong one
_LOUD = 4  # the weighted sum of magnitudes from which on neighbours are more than faint


def context_of(west: int, north: int, north_west: int, north_east: int) -> int:
    """Return the context, 1..9, of a symbol between four others, all given as distances from the channel's centre.

    1: all at the centre. 2..4: faint neighbours, below, around or above the centre. 5..9: loud ones, likewise and in
    finer steps. Free of branches, so that numbers, arrays and compiled code share this one definition.
    """
    lean = 2 * west + 2 * north + north_west + north_east
    loudness = 2 * abs(west) + 2 * abs(north) + abs(north_west) + abs(north_east)
    side = 1 * (lean >= _NEAR) - 1 * (lean <= -_NEAR)
    far = 1 * (lean >= _FAR) - 1 * (lean <= -_FAR)
    return 1 + 2 * (loudness > 0) + 4 * (loudness >= _LOUD) + side + far


def contexts(symbols: NDArray[np.int16], centre: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Return the context, 1..9, of every symbol (C, H, W) of channels with centres (C,).

    Outside of the latent all is at the centre, but in the first row north is what west is, and in the first column
    west is what north is.
    """
    distance = np.pad(symbols.astype(np.int32) - centre[:, None, None], ((0, 0), (1, 0), (1, 1)))
    west, north = distance[:, 1:, :-2].copy(), distance[:, :-1, 1:-1].copy()
    north[:, 0] = west[:, 0]
    west[:, :, 0] = north[:, :, 0]
    found = np.asarray(context_of(west, north, distance[:, :-1, :-2], distance[:, :-1, 2:]))  # type: ignore[arg-type]
    return found.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class TableChoice:
    """The tables of a latent's channels at one operating point, and what chooses among them."""

    rows: NDArray[np.uint16]  # (C, 1): one table a channel, or (C, CONTEXTS): one for each context
    centre: NDArray[np.int16]  # (C,) the symbol from which neighbours are measured

    @classmethod
    def alone(cls, tables: NDArray[np.uint16]) -> TableChoice:
        """Give each of C channels one table (C,)."""
        return cls(tables[:, None], np.zeros(tables.size, np.int16))

    @property
    def in_context(self) -> bool:
        """Whether neighbours choose."""
        return bool(self.rows.shape[1] > 1)

    def indexes(self, symbols: NDArray[np.int16]) -> NDArray[np.uint16]:
        """Return the table of every symbol (C, H, W), as (C*H*W,)."""
        if not self.in_context:
            return np.repeat(self.rows[:, ALONE], symbols[0].size)
        channel = np.arange(len(symbols))[:, None, None]
        return self.rows[channel, contexts(symbols, self.centre)].ravel()
