"""The coder in plain Python: the definition that splitnet.codec.rans must match byte for byte.

Range asymmetric numeral system (Duda 2013, arXiv:1311.2540) with bytes as digits. The state lives in
[STATE_MIN, STATE_MIN * 256). The encoder walks backwards and starts from STATE_MIN, so a decoder that went
right ends there: 23 bits of check that cost nothing beyond the state itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.contexts import TableChoice
from splitnet.codec.entropy_model import (
    ESCAPE_LENGTH_BITS,
    PRECISION_BITS,
    SYMBOL_MAX,
    SYMBOL_MIN,
    TOTAL,
    EntropyModel,
)
from splitnet.errors import BitstreamError

STATE_MIN = 1 << 23


class TableRows(Protocol):
    """Tables of cumulative frequencies, as `EntropyModel` describes them."""

    @property
    def quantized_cdf(self) -> NDArray[np.uint16]:
        """All rows (total,)."""

    @property
    def cdf_start(self) -> NDArray[np.int32]:
        """Where each row begins (tables + 1,)."""

    @property
    def offset(self) -> NDArray[np.int32]:
        """The first symbol of each row (tables,)."""


def encode(symbols: NDArray[np.int16], choice: TableChoice, model: EntropyModel) -> bytes:
    """Encode symbols (C, H, W) under tables of the model."""
    return encode_values(symbols.ravel().tolist(), choice.indexes(symbols).tolist(), model)


def encode_values(values: Sequence[int], tables: Sequence[int], model: TableRows) -> bytes:
    """Encode values, each under the table of the model that stands beside it."""
    writer = _Writer()
    for symbol, table in zip(reversed(values), reversed(tables), strict=True):
        cdf, offset = _table(model, table)
        escape = len(cdf) - 2
        entry = symbol - offset
        if not 0 <= entry < escape:
            writer.push_escaped(entry, escape)
            entry = escape
        writer.push(cdf[entry], cdf[entry + 1] - cdf[entry], PRECISION_BITS)
    return writer.finish()


def decode(payload: bytes, choice: TableChoice, size: tuple[int, int], model: EntropyModel) -> NDArray[np.int16]:
    """Decode the symbols (C, H, W) of a size (H, W); raise BitstreamError unless the payload fits exactly."""
    reader = Reader(payload)
    symbols = np.zeros((len(choice.rows), *size), np.int16)
    for place in np.ndindex(symbols.shape):
        # What is not decoded yet is no neighbour, so the channel as far as it is known tells this symbol's context.
        channel = slice(place[0], place[0] + 1)
        indexes = TableChoice(choice.rows[channel], choice.centre[channel]).indexes(symbols[channel])
        table = indexes.reshape(size)[place[1:]]
        symbols[place] = reader.pop_value(int(table), model)
    reader.finish()
    return symbols


def _table(model: TableRows, table: int) -> tuple[list[int], int]:
    start, end = model.cdf_start[table : table + 2]
    return model.quantized_cdf[start:end].tolist(), int(model.offset[table])


class _Writer:
    """An encoder's state and the bytes it has shed, last one first."""

    def __init__(self) -> None:
        self.state = STATE_MIN
        self.shed = bytearray()

    def push(self, low: int, frequency: int, precision: int) -> None:
        """Encode the interval [low, low + frequency) of 2**precision."""
        while self.state >= (STATE_MIN >> precision << 8) * frequency:
            self.shed.append(self.state & 0xFF)
            self.state >>= 8
        quotient, remainder = divmod(self.state, frequency)
        self.state = (quotient << precision) + remainder + low

    def push_escaped(self, entry: int, escape: int) -> None:
        """Encode how far an entry lies outside its table; pushed before the escape since it is read after."""
        magnitude = 2 * (entry - escape) if entry >= 0 else 2 * (-1 - entry) + 1
        length = (magnitude + 1).bit_length() - 1
        self.push(magnitude + 1 - (1 << length), 1, length)
        self.push(length, 1, ESCAPE_LENGTH_BITS)

    def finish(self) -> bytes:
        """Return the payload: the final state, big-endian, then the shed bytes, newest first."""
        return self.state.to_bytes(4, "big") + bytes(reversed(self.shed))


class Reader:
    """A decoder's state and the bytes it has yet to take in."""

    def __init__(self, payload: bytes) -> None:
        self.state = int.from_bytes(payload[:4], "big")
        self.rest = iter(payload[4:])
        if not STATE_MIN <= self.state < STATE_MIN << 8:
            raise BitstreamError("the payload is too short or starts with an impossible state")

    def pop(self, low: int, frequency: int, precision: int) -> None:
        """Drop the interval [low, low + frequency) of 2**precision from the state."""
        self.state = frequency * (self.state >> precision) + self.state % (1 << precision) - low
        while self.state < STATE_MIN:
            byte = next(self.rest, None)
            if byte is None:
                raise BitstreamError("the payload ends too early")
            self.state = self.state << 8 | byte

    def pop_value(self, table: int, model: TableRows) -> int:
        """Return the next value, coded under a table of the model."""
        cdf, offset = _table(model, table)
        entry = bisect_right(cdf, self.state % TOTAL) - 1
        self.pop(cdf[entry], cdf[entry + 1] - cdf[entry], PRECISION_BITS)
        if entry == len(cdf) - 2:
            entry = self.pop_escaped(entry)
        if not SYMBOL_MIN <= offset + entry <= SYMBOL_MAX:
            raise BitstreamError("the payload escapes to a value beyond int16")
        return offset + entry

    def pop_escaped(self, escape: int) -> int:
        """Return the entry that an escape stands for."""
        length = self._pop_bits(ESCAPE_LENGTH_BITS)
        if length > 16:
            raise BitstreamError("the payload escapes to a value beyond int16")
        magnitude = (1 << length) + self._pop_bits(length) - 1
        return -1 - magnitude // 2 if magnitude % 2 else escape + magnitude // 2

    def _pop_bits(self, count: int) -> int:
        bits = self.state % (1 << count)
        self.pop(bits, 1, count)
        return bits

    def finish(self) -> None:
        """Raise BitstreamError unless every byte was used and the state is back at its start."""
        if next(self.rest, None) is not None or self.state != STATE_MIN:
            raise BitstreamError("the payload does not end where its symbols do: it is damaged")
