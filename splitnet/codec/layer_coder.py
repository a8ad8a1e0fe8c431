"""The fine part of symbols whose coarse part is known, compiled: which of a few symbols each one is.

A coarse symbol stands for an odd number of fine ones, its channel's step. The table that would have coded the symbol as
a whole says how likely each of them is, so that coding in two steps costs what coding in one does, as far as the first
step's tables are right. Nothing escapes, however far out. All is integers, so both ends agree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.compiler import COMPILES, compiled
from splitnet.codec.contexts import TableChoice
from splitnet.codec.rans import (
    BAD_END,
    BAD_START,
    MESSAGES,
    STATE_BYTES,
    STATE_END,
    TOO_SHORT,
    Tables,
    context_at,
    first_state,
)
from splitnet.codec.rans_reference import STATE_MIN
from splitnet.errors import BitstreamError

MAX_STEP = 15  # fine symbols of one coarse one
BITS = 12  # the shares of a coarse symbol's fine ones add up to 2**BITS
_TOTAL = 1 << BITS
_MASK = _TOTAL - 1
_ROOM_SHIFT = 31 - BITS  # a state below share << _ROOM_SHIFT has room for one more symbol
BYTES_PER_SYMBOL_MAX = 2  # the least share takes 12 bits

Steps = NDArray[np.int16]  # (C,) odd


def coarse_of(symbols: NDArray[np.int16], steps: Steps) -> NDArray[np.int16]:
    """Return the coarse symbols of fine ones (C, H, W): divided by their channels' steps, and rounded."""
    step = steps.astype(np.int32)[:, None, None]
    return np.asarray(np.sign(symbols) * ((np.abs(symbols.astype(np.int32)) + step // 2) // step), np.int16)


def encode_fine(symbols: NDArray[np.int16], steps: Steps, choice: TableChoice, tables: Tables) -> bytes:
    """Encode what the coarse part of symbols (C, H, W) leaves open."""
    symbols = np.require(symbols, np.int16, ["C", "W"])
    low, share = np.empty(symbols.size, np.int32), np.empty(symbols.size, np.int32)
    count = _intervals(symbols, *_arrays(steps, choice), tables.cdf, tables.start, tables.offset, low, share)
    out = np.empty(count * BYTES_PER_SYMBOL_MAX + STATE_BYTES, np.uint8)
    return out[_push_intervals(low[:count], share[:count], out) :].tobytes()


def decode_fine(
    payload: bytes, coarse: NDArray[np.int16], steps: Steps, choice: TableChoice, tables: Tables
) -> NDArray[np.int16]:
    """Return the fine symbols of coarse ones (C, H, W); raise BitstreamError unless the payload fits exactly.

    Coarse symbols times their steps are within int16, with half a step to spare.
    """
    if len(payload) < STATE_BYTES:
        raise BitstreamError(MESSAGES[BAD_START])
    symbols = np.empty(coarse.shape, np.int16)
    failure = _decode_fine(
        np.frombuffer(bytearray(payload), np.uint8),
        np.require(coarse, np.int16, ["C", "W"]),
        *_arrays(steps, choice),
        tables.cdf,
        tables.start,
        tables.offset,
        symbols,
    )
    if failure:
        raise BitstreamError(MESSAGES[failure])
    return symbols


def warm_up(tables: Tables) -> None:
    """Compile the loops, or load them from numba's cache."""
    if not COMPILES:
        return
    symbols, choice = np.zeros((1, 1, 1), np.int16), TableChoice.alone(np.zeros(1, np.uint16))
    steps = np.array([3], np.int16)
    decode_fine(encode_fine(symbols, steps, choice, tables), coarse_of(symbols, steps), steps, choice, tables)


def _arrays(steps: Steps, choice: TableChoice) -> tuple[Steps, NDArray[np.uint16], NDArray[np.int16]]:
    rows, centre = np.require(choice.rows, np.uint16, ["C", "W"]), np.require(choice.centre, np.int16, ["C", "W"])
    return np.require(steps, np.int16, ["C", "W"]), rows, centre


@compiled
def _coarse(symbol: int, step: int) -> int:
    """Return the coarse symbol of a fine one; must be what coarse_of says."""
    return (symbol + step // 2) // step if symbol >= 0 else -((step // 2 - symbol) // step)


@compiled
def _borders(
    table: int,
    first: int,
    step: int,
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    borders: NDArray[np.int64],
) -> None:
    """Write where the shares of so many symbols from a first one on begin and end.

    Each counts once at least, as what a table does not know may come all the same.
    """
    borders[0] = 0
    for i in range(step):
        entry = start[table] + first + i - offset[table]
        known = entry >= start[table] and entry < start[table + 1] - 2
        borders[i + 1] = borders[i] + (cdf[entry + 1] - cdf[entry] if known else 1)
    total = borders[step]
    for i in range(step + 1):
        borders[i] = borders[i] * (_TOTAL - step) // total + i


@compiled
def _intervals(
    symbols: NDArray[np.int16],
    steps: NDArray[np.int16],
    rows: NDArray[np.uint16],
    centre: NDArray[np.int16],
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    low: NDArray[np.int32],
    share: NDArray[np.int32],
) -> int:
    """Write where each symbol's share of 2**BITS begins, and the share; return how many symbols there are to code."""
    channels, height, columns = symbols.shape
    in_context = rows.shape[1] > 1
    borders = np.empty(MAX_STEP + 1, np.int64)
    count = 0
    for channel in range(channels):
        about, step = np.int64(centre[channel]), np.int64(steps[channel])
        if step == 1:
            continue
        for row in range(height):
            for column in range(columns):
                context = context_at(symbols, channel, row, column, about) if in_context else 0
                symbol = np.int64(symbols[channel, row, column])
                first = step * _coarse(symbol, step) - step // 2
                _borders(rows[channel, context], first, step, cdf, start, offset, borders)
                low[count] = borders[symbol - first]
                share[count] = borders[symbol - first + 1] - borders[symbol - first]
                count += 1
    return count


@compiled
def _push_intervals(low: NDArray[np.int32], share: NDArray[np.int32], out: NDArray[np.uint8]) -> int:
    """Fill `out` from its end and return where the payload begins."""
    state = STATE_MIN
    end = out.size
    for i in range(low.size - 1, -1, -1):
        own = np.int64(share[i])
        while state >= own << _ROOM_SHIFT:
            end -= 1
            out[end] = state & 0xFF
            state >>= 8
        state = (state // own << BITS) + state % own + low[i]
    for _ in range(STATE_BYTES):
        end -= 1
        out[end] = state & 0xFF
        state >>= 8
    return end


@compiled
def _decode_fine(
    payload: NDArray[np.uint8],
    coarse: NDArray[np.int16],
    steps: NDArray[np.int16],
    rows: NDArray[np.uint16],
    centre: NDArray[np.int16],
    cdf: NDArray[np.int32],
    start: NDArray[np.int32],
    offset: NDArray[np.int32],
    symbols: NDArray[np.int16],
) -> int:
    """Fill `symbols` (C, H, W) and return 0, or the reason why the payload is wrong."""
    state = first_state(payload)
    if state < STATE_MIN or state >= STATE_END:
        return BAD_START
    position = STATE_BYTES
    in_context = rows.shape[1] > 1
    borders = np.empty(MAX_STEP + 1, np.int64)
    channels, height, columns = symbols.shape
    for channel in range(channels):
        about, step = np.int64(centre[channel]), np.int64(steps[channel])
        if step == 1:
            symbols[channel] = coarse[channel]
            continue
        for row in range(height):
            for column in range(columns):
                context = context_at(symbols, channel, row, column, about) if in_context else 0
                first = step * np.int64(coarse[channel, row, column]) - step // 2
                _borders(rows[channel, context], first, step, cdf, start, offset, borders)
                slot = state & _MASK
                chosen = 0
                while borders[chosen + 1] <= slot:
                    chosen += 1
                state = (borders[chosen + 1] - borders[chosen]) * (state >> BITS) + slot - borders[chosen]
                while state < STATE_MIN and position < payload.size:
                    state = state << 8 | np.int64(payload[position])
                    position += 1
                if state < STATE_MIN:
                    return TOO_SHORT
                symbols[channel, row, column] = first + chosen
    return 0 if state == STATE_MIN and position == payload.size else BAD_END
