"""Coding against a reference in plain Python: the definition that `change_coder` must match byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from splitnet.codec import rans_reference
from splitnet.codec.change_contexts import change_context, flag_context
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.references import Reference
from splitnet.errors import BitstreamError

Code = Callable[[int, int], int]  # (table, value to encode) to the value, encoded or decoded


def encode_changes(
    symbols: NDArray[np.int16], reference: Reference, centre: NDArray[np.int16], quality: int, model: ChangeModel
) -> bytes:
    """Encode symbols (C, H, W) against a reference."""
    coded: list[tuple[int, int]] = []

    def code(table: int, value: int) -> int:
        coded.append((table, value))
        return value

    for _ in _walk(symbols.copy(), symbols, reference, centre, quality, model, code):
        pass
    tables, values = zip(*coded, strict=True)
    return rans_reference.encode_values(values, tables, model)


def decode_changes(
    payload: bytes, reference: Reference, centre: NDArray[np.int16], quality: int, model: ChangeModel
) -> NDArray[np.int16]:
    """Decode the symbols (C, H, W) coded against a reference; BitstreamError unless the payload fits exactly."""
    reader = rans_reference.Reader(payload)
    symbols: NDArray[np.int16] = reference.symbols.copy()

    def code(table: int, _: int) -> int:
        return reader.pop_value(table, model)

    for flag in _walk(symbols, None, reference, centre, quality, model, code):
        if flag not in (0, 1):
            raise BitstreamError("the payload holds a change that no symbol can make")
    reader.finish()
    return symbols


def _walk(
    symbols: NDArray[np.int16],
    wanted: NDArray[np.int16] | None,
    reference: Reference,
    centre: NDArray[np.int16],
    quality: int,
    model: ChangeModel,
    code: Code,
) -> Iterator[int]:
    """Code position after position, changing `symbols` to what is wanted or decoded; yields each flag."""
    channels, height, columns = symbols.shape
    flags = np.zeros((height + 1, columns + 2), int)
    before = np.pad(reference.changed.astype(int), 1)
    old = reference.symbols.astype(int)
    amounts = np.zeros((channels, height + 1, columns + 1), int)
    for row, column in np.ndindex(height, columns):
        context = flag_context(
            west=int(flags[row + 1, column]),
            north=int(flags[row, column + 1]),
            north_west=int(flags[row, column]),
            north_east=int(flags[row, column + 2]),
            before=int(before[row + 1, column + 1]),
            around=int(before[row : row + 3, column : column + 3].sum()),
        )
        changes = wanted is not None and bool((wanted[:, row, column] != old[:, row, column]).any())
        flag = code(int(model.flag_index[quality, context]), int(changes))
        yield flag
        flags[row + 1, column + 1] = flag
        changed = 0
        for channel in range(channels if flag else 0):
            was = int(old[channel, row, column])
            distance = was - int(centre[channel])
            beside = int(amounts[channel, row + 1, column] + amounts[channel, row, column + 1])
            table = int(model.change_index[quality, channel, change_context(abs(distance), beside, changed)])
            change = 0 if wanted is None else int(wanted[channel, row, column]) - was
            value = code(table, _wrapped(-change if distance < 0 else change))
            symbols[channel, row, column] = _wrapped(was + (-value if distance < 0 else value))
            change = int(symbols[channel, row, column]) - was
            amounts[channel, row + 1, column + 1] = abs(change)
            changed += change != 0


def _wrapped(value: int) -> int:
    """Return an integer modulo 2**16, as int16 has it."""
    return (value + (1 << 15)) % (1 << 16) - (1 << 15)
