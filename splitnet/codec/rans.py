"""Table-driven rANS, compiled: byte for byte the same as its definition in splitnet.codec.rans_reference.

Compiled on first use, not on import, and kept in numba's cache, so that a later start loads it in
milliseconds and without the compiler's memory. Both loops release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from splitnet.codec.entropy_model import (
    ESCAPE_LENGTH_BITS,
    PRECISION_BITS,
    SYMBOL_MAX,
    SYMBOL_MIN,
    TOTAL,
    EntropyModel,
)
from splitnet.codec.rans_reference import STATE_MIN
from splitnet.errors import BitstreamError

Function = TypeVar("Function", bound=Callable[..., object])

BYTES_PER_SYMBOL_MAX = 5  # 15 bits for the escape, 5 for the length, 16 for the value
STATE_BYTES = 4
_STATE_END = STATE_MIN << 8
_MASK = TOTAL - 1
_RENORM_SHIFT = 31 - PRECISION_BITS  # a state below frequency << _RENORM_SHIFT has room for one more symbol
_RECIPROCAL_SHIFT = PRECISION_BITS + 31
_ESCAPE_BITS_MAX = 16
_LOOKUP_BITS = 8
_LOOKUP_SHIFT = PRECISION_BITS - _LOOKUP_BITS

_BAD_START, _TOO_SHORT, _BAD_ESCAPE, _BAD_END = 1, 2, 3, 4
_MESSAGES = {
    _BAD_START: "the payload is too short or starts with an impossible state",
    _TOO_SHORT: "the payload ends too early",
    _BAD_ESCAPE: "the payload escapes to a value beyond int16",
    _BAD_END: "the payload does not end where its symbols do: it is damaged",
}


@dataclass(frozen=True, eq=False)
class Tables:
    """An entropy model in the form that the loops read. All arrays are private, C-ordered and writable,
    because numba compiles anew for every other kind of array.

    reciprocal: ceil(2**_RECIPROCAL_SHIFT / frequency) per entry, so that the encoder never divides
    (a division costs an ARM core up to 20 cycles). lookup: the first entry to try for the state's top bits.
    """

    cdf: NDArray[np.int32]  # (total,)
    start: NDArray[np.int32]  # (tables + 1,)
    offset: NDArray[np.int32]  # (tables,)
    reciprocal: NDArray[np.int64]  # (total,)
    lookup: NDArray[np.uint16]  # (tables, 256)

    @classmethod
    def build(cls, model: EntropyModel) -> Tables:
        """Derive everything from a model."""
        cdf = model.quantized_cdf.astype(np.int32)
        frequency = np.maximum(np.diff(cdf, append=0), 1).astype(np.int64)
        slots = np.arange(0, TOTAL, 1 << _LOOKUP_SHIFT)
        rows = np.split(cdf, model.cdf_start[1:-1])
        lookup = np.array([np.searchsorted(row, slots, side="right") - 1 for row in rows], np.uint16)
        reciprocal = -(-(1 << _RECIPROCAL_SHIFT) // frequency)
        return cls(cdf, model.cdf_start.astype(np.int32), model.offset.astype(np.int32), reciprocal, lookup)


def encode(symbols: NDArray[np.int16], indexes: NDArray[np.uint16], tables: Tables) -> bytes:
    """Encode symbols (n,) under the tables indexes (n,)."""
    _check_indexes(indexes, tables)
    if symbols.shape != indexes.shape:
        raise ValueError(f"{symbols.shape} symbols need as many table indexes, not {indexes.shape}")
    out = np.empty(symbols.size * BYTES_PER_SYMBOL_MAX + STATE_BYTES, np.uint8)
    begin = _encode(
        np.require(symbols, np.int16, ["C", "W"]),
        np.require(indexes, np.uint16, ["C", "W"]),
        tables.cdf,
        tables.start,
        tables.offset,
        tables.reciprocal,
        out,
    )
    return out[begin:].tobytes()


def decode(payload: bytes, indexes: NDArray[np.uint16], tables: Tables) -> NDArray[np.int16]:
    """Decode one symbol per index (n,); raise BitstreamError unless the payload fits exactly.

    Takes time and memory in proportion to n, whatever the payload says.
    """
    _check_indexes(indexes, tables)
    if len(payload) < STATE_BYTES:
        raise BitstreamError(_MESSAGES[_BAD_START])
    symbols = np.empty(indexes.size, np.int16)
    failure = _decode(
        np.frombuffer(bytearray(payload), np.uint8),
        np.require(indexes, np.uint16, ["C", "W"]),
        tables.cdf,
        tables.start,
        tables.offset,
        tables.lookup,
        symbols,
    )
    if failure:
        raise BitstreamError(_MESSAGES[failure])
    return symbols


def warm_up(tables: Tables) -> None:
    """Compile both loops or load them from numba's cache, so that the first frame need not."""
    indexes = np.zeros(1, np.uint16)
    decode(encode(np.zeros(1, np.int16), indexes, tables), indexes, tables)


def _check_indexes(indexes: NDArray[np.uint16], tables: Tables) -> None:
    # The loops do not check their indexing, so a wrong table would read foreign memory.
    if indexes.ndim != 1 or indexes.dtype != np.uint16 or int(indexes.max(initial=0)) >= tables.offset.size:
        raise ValueError(f"table indexes must be uint16 (n,) below {tables.offset.size}")


def _compiled(function: Function) -> Function:
    try:
        return cast(Function, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # no folder to keep the cache in: compile at every start instead
        return cast(Function, numba.njit(nogil=True)(function))


@_compiled
def _encode(
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


@_compiled
def _push_bits(state: int, bits: int, count: int, out: NDArray[np.uint8], end: int) -> tuple[int, int]:
    while state >= _STATE_END >> count:
        end -= 1
        out[end] = state & 0xFF
        state >>= 8
    return state << count | bits, end


@_compiled
def _decode(
    payload: NDArray[np.uint8],
    indexes: NDArray[np.uint16],
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    lookup: NDArray[np.uint16],
    symbols: NDArray[np.int16],
) -> int:
    """Fill `symbols` and return 0, or the reason why the payload is wrong."""
    state = 0
    for i in range(STATE_BYTES):
        state = state << 8 | np.int64(payload[i])
    if state < STATE_MIN or state >= _STATE_END:
        return _BAD_START
    position = STATE_BYTES
    for i in range(symbols.size):
        table = indexes[i]
        slot = state & _MASK
        entry = start[table] + np.int64(lookup[table, slot >> _LOOKUP_SHIFT])
        while cdf[entry + 1] <= slot:  # ends at the latest where the row reaches TOTAL
            entry += 1
        low = cdf[entry]
        state = (cdf[entry + 1] - low) * (state >> PRECISION_BITS) + slot - low
        state, position = _refill(state, payload, position)
        symbol = entry - start[table] + offset[table]
        if entry == start[table + 1] - 2:
            length = state & ((1 << ESCAPE_LENGTH_BITS) - 1)
            state, position = _refill(state >> ESCAPE_LENGTH_BITS, payload, position)
            if length > _ESCAPE_BITS_MAX:
                return _BAD_ESCAPE
            magnitude = (1 << length) + (state & ((1 << length) - 1)) - 1
            state, position = _refill(state >> length, payload, position)
            symbol = offset[table] - 1 - (magnitude >> 1) if magnitude & 1 else symbol + (magnitude >> 1)
            if symbol < SYMBOL_MIN or symbol > SYMBOL_MAX:
                return _BAD_ESCAPE
        if state < STATE_MIN:
            return _TOO_SHORT
        symbols[i] = symbol
    return 0 if state == STATE_MIN and position == payload.size else _BAD_END


@_compiled
def _refill(state: int, payload: NDArray[np.uint8], position: int) -> tuple[int, int]:
    """Take in bytes until the state is in its range again; leave it short where the payload ends."""
    while state < STATE_MIN and position < payload.size:
        state = state << 8 | np.int64(payload[position])
        position += 1
    return state, position
