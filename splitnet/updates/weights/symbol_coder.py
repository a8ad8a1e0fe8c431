"""Groups of integers to bytes and back: each under the parametric table that suits it, all by the rANS of the frames.

    2 bytes   length of the head
    head      rANS: for each group whether its table is one of the lot, its share, its reach, its side
    body      rANS: the symbols, group after group; groups of zeros take none

The sizes of groups are known to both ends and not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.contexts import TableChoice
from splitnet.codec.entropy_model import SYMBOL_MAX, SYMBOL_MIN
from splitnet.codec.rans import Tables, decode, encode_flat
from splitnet.errors import BitstreamError, UpdateError
from splitnet.updates.weights.parametric_tables import EMPTY, REACHES, SHARES, SIDES, best, bits, row, table_number

MAX_SYMBOLS = 1 << 28  # of an update: models for devices have some millions of weights
HEAD_LENGTH_BYTES = 2
_NOTHING = SIDES  # the kind of a group of zeros; other kinds say whether there are negative symbols
# Of kinds, and of the differences between one table's share or reach and the next one's.
_HEAD_TABLES = (table_number(8, 1, True), table_number(2, 3, False), table_number(6, 1, False))

Group = NDArray[np.integer[Any]]


def encode_groups(groups: Sequence[Group]) -> bytes:
    """Return groups of integers of int16's range as bytes. UpdateError if one is beyond, or if there are too many."""
    for group in groups:
        if group.size and not (int(group.min()) >= SYMBOL_MIN and int(group.max()) <= SYMBOL_MAX):
            raise UpdateError("a symbol is beyond int16: take a larger step")
    numbers = [best(group) for group in groups]
    head = _encode(_head(numbers), _HEAD_TABLES)
    if len(head) >= 1 << 8 * HEAD_LENGTH_BYTES:
        raise UpdateError(f"{len(groups)} groups are too many")
    coded = [(group, number) for group, number in zip(groups, numbers, strict=True) if number != EMPTY and group.size]
    body = _encode([group for group, _ in coded], [number for _, number in coded])
    return len(head).to_bytes(HEAD_LENGTH_BYTES, "big") + head + body


def decode_groups(data: bytes, sizes: Sequence[int]) -> list[NDArray[np.int16]]:
    """Return the groups of these sizes, flat. UpdateError if the bytes are none of such; memory follows the sizes."""
    if any(size < 0 for size in sizes) or sum(sizes) > MAX_SYMBOLS:
        raise UpdateError("an update has more symbols than any model for devices has weights")
    length = int.from_bytes(data[:HEAD_LENGTH_BYTES], "big")
    head, body = data[HEAD_LENGTH_BYTES : HEAD_LENGTH_BYTES + length], data[HEAD_LENGTH_BYTES + length :]
    numbers = _numbers(_decode(head, [len(sizes)] * len(_HEAD_TABLES), _HEAD_TABLES))
    coded = [(size, number) for size, number in zip(sizes, numbers, strict=True) if number != EMPTY and size]
    found = iter(_decode(body, [size for size, _ in coded], [number for _, number in coded]))
    return [
        next(found) if number != EMPTY and size else np.zeros(size, np.int16)
        for size, number in zip(sizes, numbers, strict=True)
    ]


def group_bits(group: Group) -> float:
    """Return about how many bits a group takes, its place in the head included."""
    values, counts = np.unique(group.astype(np.int64), return_counts=True)
    return bits(best(group), values, counts) + 5.0


def _head(numbers: Sequence[int]) -> list[NDArray[np.int16]]:
    """Return what the head says of tables: their kinds, and the differences of shares and reaches, (n,) each."""
    kinds, shares, reaches, share, reach = [], [], [], 0, 0
    for number in numbers:
        if number == EMPTY:
            own_share, own_reach, kind = share, reach, _NOTHING
        else:
            rest, kind = divmod(number - 1, SIDES)
            own_share, own_reach = divmod(rest, REACHES)
        kinds.append(kind)
        shares.append(own_share - share)
        reaches.append(own_reach - reach)
        share, reach = own_share, own_reach
    return [np.array(column, np.int16) for column in (kinds, shares, reaches)]


def _numbers(head: Sequence[NDArray[np.int16]]) -> list[int]:
    found, share, reach = [], 0, 0
    for kind, more_share, more_reach in zip(*(column.tolist() for column in head), strict=True):
        share, reach = share + more_share, reach + more_reach
        if not (0 <= share < SHARES and 0 <= reach < REACHES and kind in (0, 1, _NOTHING)):
            raise UpdateError("an update names a table that there is not: it is damaged")
        found.append(EMPTY if kind == _NOTHING else table_number(share, reach, bool(kind)))
    return found


class _Rows:
    """The tables that are used, as the coder reads them."""

    def __init__(self, numbers: Sequence[int]) -> None:
        rows = [row(number) for number in numbers]
        self.quantized_cdf = np.concatenate([one.cdf for one in rows])
        self.cdf_start = np.cumsum([0, *(one.cdf.size for one in rows)]).astype(np.int32)
        self.offset = np.array([one.offset for one in rows], np.int32)


def _encode(groups: Sequence[Group], numbers: Sequence[int]) -> bytes:
    if not sum(group.size for group in groups):
        return b""
    tables, indexes = _tables(numbers, [group.size for group in groups])
    return encode_flat(np.concatenate([group.reshape(-1) for group in groups]).astype(np.int16), indexes, tables)


def _decode(payload: bytes, sizes: Sequence[int], numbers: Sequence[int]) -> list[NDArray[np.int16]]:
    if not sum(sizes):
        if payload:
            raise UpdateError("an update has bytes that mean nothing: it is damaged")
        return [np.zeros(0, np.int16) for _ in sizes]
    tables, indexes = _tables(numbers, sizes)
    choice = TableChoice(indexes[:, None], np.zeros(len(indexes), np.int16))
    try:
        flat = decode(payload, choice, (1, 1), tables).reshape(-1)
    except BitstreamError as error:
        raise UpdateError(f"the symbols of an update are damaged: {error}") from error
    return np.split(flat, np.cumsum(sizes)[:-1])


def _tables(numbers: Sequence[int], sizes: Sequence[int]) -> tuple[Tables, NDArray[np.uint16]]:
    """Return the tables in use, and which of them each symbol (n,) has."""
    used = sorted(set(numbers))
    places = np.array([used.index(number) for number in numbers], np.uint16)
    return Tables.build(_Rows(used)), np.repeat(places, sizes)
