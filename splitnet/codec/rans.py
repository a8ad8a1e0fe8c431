"""Table-driven rANS, compiled: byte for byte the same as its definition in splitnet.codec.rans_reference.

Compiled on first use, not on import, and kept in numba's cache, so that a later start loads it in
milliseconds and without the compiler's memory. The loops release the GIL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.compiler import COMPILES, compiled
from splitnet.codec.contexts import CONTEXTS, TableChoice, context_of
from splitnet.codec.entropy_model import (
    ESCAPE_LENGTH_BITS,
    PRECISION_BITS,
    SYMBOL_MAX,
    SYMBOL_MIN,
    TOTAL,
)
from splitnet.codec.plain_push import push_symbols
from splitnet.codec.rans_reference import STATE_MIN, TableRows
from splitnet.errors import BitstreamError

BYTES_PER_SYMBOL_MAX = 5  # 15 bits for the escape, 5 for the length, 16 for the value
STATE_BYTES = 4
STATE_END = STATE_MIN << 8
_MASK = TOTAL - 1
_RENORM_SHIFT = 31 - PRECISION_BITS  # a state below frequency << _RENORM_SHIFT has room for one more symbol
_RECIPROCAL_SHIFT = PRECISION_BITS + 31
_ESCAPE_BITS_MAX = 16
_LOOKUP_BITS = 8
_LOOKUP_SHIFT = PRECISION_BITS - _LOOKUP_BITS

BAD_START, TOO_SHORT, BAD_ESCAPE, BAD_END = 1, 2, 3, 4
MESSAGES = {
    BAD_START: "the payload is too short or starts with an impossible state",
    TOO_SHORT: "the payload ends too early",
    BAD_ESCAPE: "the payload escapes to a value beyond int16",
    BAD_END: "the payload does not end where its symbols do: it is damaged",
}


_BUILT: WeakKeyDictionary[TableRows, Tables] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Tables:
    """An entropy model in the form that the loops read. All arrays are private, C-ordered and writable,
    because numba compiles anew for every other kind of array.
    """

    cdf: NDArray[np.int32]  # (total,)
    start: NDArray[np.int32]  # (tables + 1,)
    offset: NDArray[np.int32]  # (tables,)

    @classmethod
    def build(cls, model: TableRows) -> Tables:
        """Derive them from a model, once for as long as the model lives: with the look-up they take megabytes."""
        if model not in _BUILT:
            arrays = (model.quantized_cdf, model.cdf_start, model.offset)
            _BUILT[model] = cls(*(array.astype(np.int32) for array in arrays))
        return _BUILT[model]

    @cached_property
    def reciprocal(self) -> NDArray[np.int64]:
        """2**_RECIPROCAL_SHIFT / frequency of each entry (total,), rounded up, so that the encoder never divides.

        A division costs an ARM core up to 20 cycles.
        """
        frequency = np.maximum(np.diff(self.cdf, append=0), 1).astype(np.int64)
        return np.asarray(-(-(1 << _RECIPROCAL_SHIFT) // frequency))

    @cached_property
    def lookup(self) -> NDArray[np.uint16]:
        """The first entry to try for the top bits of a decoder's state (tables, 256)."""
        slots = np.arange(0, TOTAL, 1 << _LOOKUP_SHIFT)
        rows = np.split(self.cdf, self.start[1:-1])
        return np.array([np.searchsorted(row, slots, side="right") - 1 for row in rows], np.uint16)


def encode(symbols: NDArray[np.int16], choice: TableChoice, tables: Tables) -> bytes:
    """Encode symbols (C, H, W)."""
    _check(choice, tables, len(symbols))
    symbols = np.require(symbols, np.int16, ["C", "W"])
    indexes = _indexes(symbols, *_arrays(choice)) if COMPILES else choice.indexes(symbols)
    return encode_flat(symbols.reshape(-1), indexes, tables)


def encode_flat(symbols: NDArray[np.int16], indexes: NDArray[np.uint16], tables: Tables) -> bytes:
    """Encode symbols (n,), each under the table that stands beside it (n,)."""
    if not COMPILES:
        return push_symbols(symbols, indexes, tables)
    out = np.empty(symbols.size * BYTES_PER_SYMBOL_MAX + STATE_BYTES, np.uint8)
    begin = push_all(symbols, indexes, tables.cdf, tables.start, tables.offset, tables.reciprocal, out)
    return out[begin:].tobytes()


def decode(payload: bytes, choice: TableChoice, size: tuple[int, int], tables: Tables) -> NDArray[np.int16]:
    """Decode the symbols (C, H, W) of a size (H, W); raise BitstreamError unless the payload fits exactly.

    Takes time and memory in proportion to C * H * W, whatever the payload says.
    """
    channels = len(choice.rows)
    _check(choice, tables, channels)
    if len(payload) < STATE_BYTES:
        raise BitstreamError(MESSAGES[BAD_START])
    symbols = np.empty((channels, *size), np.int16)
    failure = _decode(
        np.frombuffer(bytearray(payload), np.uint8),
        *_arrays(choice),
        tables.cdf,
        tables.start,
        tables.offset,
        tables.lookup,
        symbols,
    )
    if failure:
        raise BitstreamError(MESSAGES[failure])
    return symbols


def warm_up(tables: Tables) -> None:
    """Compile the loops or load them from numba's cache, so that the first frame need not."""
    if not COMPILES:
        return
    choice = TableChoice.alone(np.zeros(1, np.uint16))
    decode(encode(np.zeros((1, 1, 1), np.int16), choice, tables), choice, (1, 1), tables)


def _check(choice: TableChoice, tables: Tables, channels: int) -> None:
    # The loops do not check their indexing, so a wrong table would read foreign memory.
    rows, centre = choice.rows, choice.centre
    if rows.shape not in ((channels, 1), (channels, CONTEXTS)) or centre.shape != (channels,):
        raise ValueError(f"{channels} channels need tables (C, 1 or {CONTEXTS}) and centres (C,), not {rows.shape}")
    if rows.dtype != np.uint16 or int(rows.max(initial=0)) >= tables.offset.size:
        raise ValueError(f"table indexes must be uint16 below {tables.offset.size}")


def _arrays(choice: TableChoice) -> tuple[NDArray[np.uint16], NDArray[np.int16]]:
    return np.require(choice.rows, np.uint16, ["C", "W"]), np.require(choice.centre, np.int16, ["C", "W"])


_context_of = compiled(context_of)


@compiled
def context_at(symbols: NDArray[np.int16], channel: int, row: int, column: int, centre: int) -> int:
    """Return a symbol's context from its neighbours; must be what contexts.contexts says."""
    west = symbols[channel, row, column - 1] - centre if column > 0 else 0
    north = symbols[channel, row - 1, column] - centre if row > 0 else west
    if column == 0:
        west = north
    north_west = symbols[channel, row - 1, column - 1] - centre if row > 0 and column > 0 else 0
    north_east = symbols[channel, row - 1, column + 1] - centre if row > 0 and column + 1 < symbols.shape[2] else 0
    return _context_of(west, north, north_west, north_east)


@compiled
def _indexes(symbols: NDArray[np.int16], rows: NDArray[np.uint16], centre: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Return the table of every symbol (C, H, W), as (C*H*W,)."""
    channels, height, columns = symbols.shape
    found = np.empty(symbols.size, np.uint16)
    if rows.shape[1] == 1:
        for channel in range(channels):
            found[channel * height * columns : (channel + 1) * height * columns] = rows[channel, 0]
        return found
    # Distances of two rows, with a border of zeros, and plain loops over them: so the compiler can use vectors.
    above, here = np.empty(columns + 2, np.int32), np.zeros(columns + 2, np.int32)
    context = np.empty(columns, np.uint8)
    i = 0
    for channel in range(channels):
        above[:] = 0
        for row in range(height):
            for column in range(columns):
                here[column + 1] = symbols[channel, row, column] - np.int32(centre[channel])
            here[0] = above[1]
            north = above[1:] if row > 0 else here
            for column in range(columns):
                context[column] = _context_of(here[column], north[column], above[column], above[column + 2])
            for column in range(columns):
                found[i + column] = rows[channel, context[column]]
                above[column + 1] = here[column + 1]
            i += columns
    return found


@compiled
def push_all(
    symbols: NDArray[np.int16],
    indexes: NDArray[np.uint16],
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    reciprocal: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> int:
    """Fill `out` from its end and return where the payload begins."""
    state = STATE_MIN
    end = out.size
    for i in range(symbols.size - 1, -1, -1):
        table = indexes[i]
        first = start[table]
        escape = start[table + 1] - 2
        entry = first + symbols[i] - offset[table]
        if entry < first or entry >= escape:
            magnitude = 2 * (entry - escape) if entry >= escape else 2 * (first - 1 - entry) + 1
            length = 0
            while magnitude + 1 >= 2 << length:
                length += 1
            state, end = _push_bits(state, magnitude + 1 - (1 << length), length, out, end)
            state, end = _push_bits(state, length, ESCAPE_LENGTH_BITS, out, end)
            entry = escape
        low = cdf[entry]
        frequency = cdf[entry + 1] - low
        while state >= frequency << _RENORM_SHIFT:
            end -= 1
            out[end] = state & 0xFF
            state >>= 8
        # Exact since state < frequency << _RENORM_SHIFT: the reciprocal's excess, below frequency / 2**shift,
        # times the state stays below one. The product stays below 2**63.
        quotient = (state * reciprocal[entry]) >> _RECIPROCAL_SHIFT
        state += quotient * (TOTAL - frequency) + low
    for _ in range(STATE_BYTES):
        end -= 1
        out[end] = state & 0xFF
        state >>= 8
    return end


@compiled
def _push_bits(state: int, bits: int, count: int, out: NDArray[np.uint8], end: int) -> tuple[int, int]:
    while state >= STATE_END >> count:
        end -= 1
        out[end] = state & 0xFF
        state >>= 8
    return state << count | bits, end


@compiled
def _decode(
    payload: NDArray[np.uint8],
    rows: NDArray[np.uint16],
    centre: NDArray[np.int16],
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    lookup: NDArray[np.uint16],
    symbols: NDArray[np.int16],
) -> int:
    """Fill `symbols` (C, H, W) and return 0, or the reason why the payload is wrong."""
    state = first_state(payload)
    if state < STATE_MIN or state >= STATE_END:
        return BAD_START
    position = STATE_BYTES
    in_context = rows.shape[1] > 1
    channels, height, columns = symbols.shape
    for channel in range(channels):
        middle = np.int64(centre[channel])
        for row in range(height):
            for column in range(columns):
                context = context_at(symbols, channel, row, column, middle) if in_context else 0
                table = rows[channel, context]
                symbol, state, position = pop(table, state, payload, position, cdf, start, offset, lookup)
                if symbol > SYMBOL_MAX:
                    return BAD_ESCAPE
                if state < STATE_MIN:
                    return TOO_SHORT
                symbols[channel, row, column] = symbol
    return 0 if state == STATE_MIN and position == payload.size else BAD_END


@compiled
def first_state(payload: NDArray[np.uint8]) -> int:
    """Return the state that a payload of at least STATE_BYTES begins with; it may be impossible."""
    state = 0
    for i in range(STATE_BYTES):
        state = state << 8 | np.int64(payload[i])
    return state


@compiled
def pop(
    table: int,
    state: int,
    payload: NDArray[np.uint8],
    position: int,
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    lookup: NDArray[np.uint16],
) -> tuple[int, int, int]:
    """Return the next symbol under a table, beyond int16 if its escape cannot be one, and the state and position after.

    A state below STATE_MIN afterwards says that the payload ended too early.
    """
    slot = state & _MASK
    entry = start[table] + np.int64(lookup[table, slot >> _LOOKUP_SHIFT])
    while cdf[entry + 1] <= slot:  # ends at the latest where the row reaches TOTAL
        entry += 1
    low = cdf[entry]
    state = (cdf[entry + 1] - low) * (state >> PRECISION_BITS) + slot - low
    state, position = _refill(state, payload, position)
    symbol = entry - start[table] + offset[table]
    if entry == start[table + 1] - 2:
        symbol, state, position = _escaped(symbol, offset[table], state, payload, position)
        if symbol < SYMBOL_MIN:
            symbol = SYMBOL_MAX + 1
    return symbol, state, position


@compiled
def _escaped(symbol: int, offset: int, state: int, payload: NDArray[np.uint8], position: int) -> tuple[int, int, int]:
    """Return the value that follows an escape, beyond int16 if it cannot be one, and the state and position after."""
    length = state & ((1 << ESCAPE_LENGTH_BITS) - 1)
    state, position = _refill(state >> ESCAPE_LENGTH_BITS, payload, position)
    if length > _ESCAPE_BITS_MAX:
        return SYMBOL_MAX + 1, state, position
    magnitude = (1 << length) + (state & ((1 << length) - 1)) - 1
    state, position = _refill(state >> length, payload, position)
    symbol = offset - 1 - (magnitude >> 1) if magnitude & 1 else symbol + (magnitude >> 1)
    return symbol, state, position


@compiled
def _refill(state: int, payload: NDArray[np.uint8], position: int) -> tuple[int, int]:
    """Take in bytes until the state is in its range again; leave it short where the payload ends."""
    while state < STATE_MIN and position < payload.size:
        state = state << 8 | np.int64(payload[position])
        position += 1
    return state, position
