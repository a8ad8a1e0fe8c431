"""Frames coded as changes against a reference, compiled: the same bytes as `splitnet.codec.change_coder_plain`.

One rANS pass over flags and changes (`splitnet.codec.change_contexts`), with the loops of `splitnet.codec.rans`. An
unchanged frame costs a few bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.change_arrays import changes_at_once
from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS, change_context, flag_context
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.compiler import COMPILES, compiled
from splitnet.codec.entropy_model import SYMBOL_MAX
from splitnet.codec.rans import (
    BAD_END,
    BAD_ESCAPE,
    BAD_START,
    MESSAGES,
    STATE_BYTES,
    STATE_END,
    TOO_SHORT,
    Tables,
    encode_flat,
    first_state,
    pop,
)
from splitnet.codec.rans_reference import STATE_MIN
from splitnet.codec.references import Reference, changed_positions
from splitnet.errors import BitstreamError

_MESSAGES = {**MESSAGES, BAD_ESCAPE: "the payload holds a change that no symbol can make"}


@dataclass(frozen=True, eq=False)
class ChangeTables:
    """A change model in the form that the loops read."""

    model: ChangeModel
    tables: Tables

    @classmethod
    def build(cls, model: ChangeModel) -> ChangeTables:
        """Derive everything from a model."""
        return cls(model, Tables.build(model))

    def rows(self, quality: int, channels: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Return the tables of flags and of the leading channels' changes at a quality, as the loops take them."""
        flags, changes = self.model.flag_index[quality], self.model.change_index[quality, :channels]
        return np.require(flags, np.uint16, ["C", "W"]), np.require(changes, np.uint16, ["C", "W"])


def encode_changes(
    symbols: NDArray[np.int16], reference: Reference, centre: NDArray[np.int16], quality: int, tables: ChangeTables
) -> bytes:
    """Encode symbols (C, H, W) against a reference of the same shape. centre: (C,) the likeliest symbols."""
    values, indexes = _in_order(symbols, reference, centre, *tables.rows(quality, len(symbols)))
    return encode_flat(values, indexes, tables.tables)


def decode_changes(
    payload: bytes, reference: Reference, centre: NDArray[np.int16], quality: int, tables: ChangeTables
) -> NDArray[np.int16]:
    """Decode the symbols (C, H, W) coded against a reference; BitstreamError unless the payload fits exactly."""
    if len(payload) < STATE_BYTES:
        raise BitstreamError(_MESSAGES[BAD_START])
    symbols = np.array(reference.symbols, np.int16, order="C")
    rows, one = tables.rows(quality, len(symbols)), tables.tables
    failure = _decode(
        np.frombuffer(bytearray(payload), np.uint8),
        *_arrays(reference, centre),
        *rows,
        one.cdf,
        one.start,
        one.offset,
        one.lookup,
        symbols,
    )
    if failure:
        raise BitstreamError(_MESSAGES[failure])
    return symbols


def in_context(
    symbols: NDArray[np.int16], reference: Reference, centre: NDArray[np.int16]
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return the flags and changes of symbols (C, H, W) in the order of coding, and the context of each, to count them.

    Contexts below FLAG_CONTEXTS are flags'; from there on a channel has CHANGE_CONTEXTS of its own.
    """
    channels = len(symbols)
    flags = np.arange(FLAG_CONTEXTS, dtype=np.uint16)
    changes = FLAG_CONTEXTS + np.arange(channels * CHANGE_CONTEXTS, dtype=np.uint16).reshape(channels, -1)
    return _in_order(symbols, reference, centre, flags, np.asarray(changes, np.uint16))


def _in_order(
    symbols: NDArray[np.int16],
    reference: Reference,
    centre: NDArray[np.int16],
    flag_rows: NDArray[np.uint16],
    change_rows: NDArray[np.uint16],
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return flags and changes in the order of coding, and what the rows say of the context of each."""
    if not COMPILES:
        return changes_at_once(symbols, reference, centre, flag_rows, change_rows)
    values = np.empty(symbols.size + symbols[0].size, np.int16)
    indexes = np.empty(values.size, np.uint16)
    flagged = changed_positions(symbols, reference)  # NumPy is quicker at it than the loops
    wanted = np.require(symbols, np.int16, ["C", "W"])
    count = _changes(wanted, flagged, *_arrays(reference, centre), flag_rows, change_rows, values, indexes)
    return values[:count], indexes[:count]


def warm_up(tables: ChangeTables) -> None:
    """Compile the loops or load them from numba's cache."""
    if not COMPILES:
        return
    still = Reference(1, 1, 0, np.zeros((1, 1, 1), np.int16), np.zeros((1, 1), np.uint8))
    centre = np.zeros(1, np.int16)
    decode_changes(encode_changes(still.symbols, still, centre, 0, tables), still, centre, 0, tables)


def _arrays(
    reference: Reference, centre: NDArray[np.int16]
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.int16]]:
    return (
        np.require(reference.symbols, np.int16, ["C", "W"]),
        np.require(reference.changed, np.uint8, ["C", "W"]),
        np.require(centre, np.int16, ["C", "W"]),
    )


_flag_context = compiled(flag_context)
_change_context = compiled(change_context)


@compiled
def _flag_context_at(flags: NDArray[np.int32], before: NDArray[np.uint8], row: int, column: int) -> int:
    """Return the context of a position's flag. flags: (H + 1, W + 2), this position at [row + 1, column + 1]."""
    around = 0
    for r in range(max(row - 1, 0), min(row + 2, before.shape[0])):
        for c in range(max(column - 1, 0), min(column + 2, before.shape[1])):
            around += before[r, c]
    return _flag_context(
        flags[row + 1, column],
        flags[row, column + 1],
        flags[row, column],
        flags[row, column + 2],
        np.int64(before[row, column]),
        around,
    )


@compiled
def _changes(
    symbols: NDArray[np.int16],
    flagged: NDArray[np.uint8],
    reference: NDArray[np.int16],
    before: NDArray[np.uint8],
    centre: NDArray[np.int16],
    flag_rows: NDArray[np.uint16],
    change_rows: NDArray[np.uint16],
    values: NDArray[np.int16],
    indexes: NDArray[np.uint16],
) -> int:
    """Fill values and the tables they are coded under, in the order of coding; returns how many there are.

    flagged: (H, W) 1 where any symbol differs from the reference's.
    """
    channels, height, columns = symbols.shape
    flags = np.zeros((height + 1, columns + 2), np.int32)
    flags[1:, 1:-1] = flagged
    amounts = np.zeros((columns + 1, channels), np.int64)  # of this row up to here, of the one above from here on
    count = 0
    for row in range(height):
        amounts[0] = 0
        for column in range(columns):
            flag = flags[row + 1, column + 1]
            values[count] = flag
            indexes[count] = flag_rows[_flag_context_at(flags, before, row, column)]
            count += 1
            changed = 0
            amounts[column + 1] *= flag
            for channel in range(channels * flag):
                old = np.int64(reference[channel, row, column])
                distance = old - np.int64(centre[channel])
                beside = amounts[column, channel] + amounts[column + 1, channel]
                context = _change_context(abs(distance), beside, changed)
                change = np.int64(symbols[channel, row, column]) - old
                values[count] = np.int16(-change if distance < 0 else change)  # wraps around, and back when decoded
                indexes[count] = change_rows[channel, context]
                count += 1
                amounts[column + 1, channel] = abs(change)
                changed += change != 0
    return count


@compiled
def _decode(
    payload: NDArray[np.uint8],
    reference: NDArray[np.int16],
    before: NDArray[np.uint8],
    centre: NDArray[np.int16],
    flag_rows: NDArray[np.uint16],
    change_rows: NDArray[np.uint16],
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    lookup: NDArray[np.uint16],
    symbols: NDArray[np.int16],
) -> int:
    """Change `symbols`, which begin as the reference's, and return 0, or the reason why the payload is wrong."""
    state = first_state(payload)
    if state < STATE_MIN or state >= STATE_END:
        return BAD_START
    position = STATE_BYTES
    channels, height, columns = symbols.shape
    flags = np.zeros((height + 1, columns + 2), np.int32)
    amounts = np.zeros((columns + 1, channels), np.int64)
    for row in range(height):
        amounts[0] = 0
        for column in range(columns):
            table = flag_rows[_flag_context_at(flags, before, row, column)]
            flag, state, position = pop(table, state, payload, position, cdf, start, offset, lookup)
            if flag < 0 or flag > 1:
                return BAD_ESCAPE
            flags[row + 1, column + 1] = flag
            changed = 0
            amounts[column + 1] *= flag
            for channel in range(channels * flag):
                old = np.int64(reference[channel, row, column])
                distance = old - np.int64(centre[channel])
                beside = amounts[column, channel] + amounts[column + 1, channel]
                table = change_rows[channel, _change_context(abs(distance), beside, changed)]
                value, state, position = pop(table, state, payload, position, cdf, start, offset, lookup)
                if value > SYMBOL_MAX:
                    return BAD_ESCAPE
                new = np.int16(old + (-value if distance < 0 else value))
                symbols[channel, row, column] = new
                change = np.int64(new) - old
                amounts[column + 1, channel] = abs(change)
                changed += change != 0
            if state < STATE_MIN:
                return TOO_SHORT
    return 0 if state == STATE_MIN and position == payload.size else BAD_END
