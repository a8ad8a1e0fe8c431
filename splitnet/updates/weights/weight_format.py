"""How changes of weights are written.

    1 byte     version of this format
    8 bytes    of the SHA-256 of the weights before: names, types, shapes and numbers
    8 bytes    the same of the weights after
    number     seed of the random signs
    list       names that are no more, as places in the sorted names of before
    list       tensors that are sent whole: place or new name, type, shape, step
    number     length of the columns
    columns    how each tensor changes: steps and ranks, a group for each (`symbol_coder`)
    symbols    what is sent whole, then the parts of all changes: tensor by tensor, family by family

Tensors are known by their place among the sorted names, so names are not sent; the digest of before vouches for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import UpdateError
from splitnet.updates.weights.byte_reader import ByteReader, number_bytes, text_bytes, unzigzag, zigzag
from splitnet.updates.weights.families import (
    FAMILIES,
    MAX_STEP_CODE,
    RANKED,
    Change,
    Integers,
    Shape,
    TensorChange,
    has_family,
    most_rank,
    part_sizes,
)
from splitnet.updates.weights.symbol_coder import MAX_SYMBOLS, decode_groups, encode_groups

VERSION = 1
CHECK_BYTES = 8
MAX_SEED = (1 << 32) - 1
MAX_TENSORS = 10_000
MAX_NAME_BYTES = 200
MAX_AXES = 6
MAX_SIDE = 1 << 24
SPARE_SYMBOLS = 1 << 20  # that a model may be larger than twice the one before
DTYPES = (np.dtype(np.float16), np.dtype(np.float32))  # of weights; whatever else a file holds is not changed here


@dataclass(frozen=True)
class Layout:
    """A tensor's type and shape."""

    dtype: np.dtype[Any]
    shape: Shape


@dataclass(frozen=True)
class WholeTensor:
    """A tensor that is sent whole: integers times a step."""

    layout: Layout
    step_code: int
    symbols: Integers


@dataclass(frozen=True)
class WeightUpdate:
    """What makes new weights of old ones."""

    changes: Mapping[str, TensorChange]  # by name; what is not named stays
    whole: Mapping[str, WholeTensor]  # new, or of another shape
    dropped: tuple[str, ...] = ()
    seed: int = 0
    before: bytes = b""  # CHECK_BYTES
    after: bytes = b""


Layouts = Mapping[str, Layout]


def pack(update: WeightUpdate, base: Layouts) -> bytes:
    """Return an update as bytes. base: the tensors of before that have numbers. Raises UpdateError on what none has."""
    names = sorted(base)
    kept = _kept(names, update)
    columns = _columns(kept, update.changes, base)
    groups = [one.symbols for _, one in sorted(update.whole.items())]
    for name in kept:
        changes = update.changes.get(name, TensorChange()).changes
        groups += [part for family in FAMILIES if family in changes for part in changes[family].parts]
    head = encode_groups(columns)
    return b"".join(
        [
            bytes([VERSION]),
            update.before,
            update.after,
            number_bytes(update.seed),
            _places(sorted(names.index(name) for name in update.dropped)),
            number_bytes(len(update.whole)),
            *(_whole_bytes(name, one, names) for name, one in sorted(update.whole.items())),
            number_bytes(len(head)),
            head,
            encode_groups(groups),
        ]
    )


def unpack(data: bytes, base: Layouts) -> WeightUpdate:
    """Return the update that bytes hold for weights of a layout. Raises UpdateError if they hold none.

    Sizes are those of the layout, or are held against it, before memory is taken.
    """
    reader, names = ByteReader(data), sorted(base)
    version = reader.number(255)
    if version != VERSION:
        raise UpdateError(f"the update is of format {version}, this software reads {VERSION}: bring it up to date")
    before, after = reader.take(CHECK_BYTES), reader.take(CHECK_BYTES)
    seed = reader.number(MAX_SEED)
    dropped = tuple(_name_at(reader, names) for _ in range(reader.number(len(names))))
    whole = dict(_read_whole(reader, names) for _ in range(reader.number(MAX_TENSORS)))
    limit = min(MAX_SYMBOLS, 2 * sum(prod(one.shape) for one in base.values()) + SPARE_SYMBOLS)
    if sum(prod(one.layout.shape) for one in whole.values()) > limit:
        raise UpdateError(f"the update brings more than {limit} new weights: it is damaged, or hostile")
    kept = _kept(names, WeightUpdate({}, whole, dropped))
    columns = decode_groups(reader.take(reader.number(len(data))), _column_sizes(kept, base))
    outlines = _outlines(kept, base, columns)
    sizes = [prod(one.layout.shape) for one in whole.values()]
    for name in kept:
        for family, (_, rank) in outlines[name].items():
            sizes += part_sizes(base[name].shape, family, rank)
    if sum(sizes) > limit + MAX_SYMBOLS_A_WEIGHT * limit:
        raise UpdateError("the update has more symbols than its model can have: it is damaged, or hostile")
    groups = iter(decode_groups(reader.rest(), sizes))
    filled = {name: WholeTensor(one.layout, one.step_code, next(groups)) for name, one in whole.items()}
    changes = {}
    for name in kept:
        shape = base[name].shape
        found = {
            family: Change(step, tuple(next(groups) for _ in part_sizes(shape, family, rank)), rank)
            for family, (step, rank) in outlines[name].items()
        }
        if found:
            changes[name] = TensorChange(found)
    return WeightUpdate(changes, filled, dropped, seed, before, after)


MAX_SYMBOLS_A_WEIGHT = 4


def _kept(names: Sequence[str], update: WeightUpdate) -> list[str]:
    """Return the names whose tensors change or stay."""
    return [name for name in names if name not in update.whole and name not in update.dropped]


def _fitting(kept: Sequence[str], base: Layouts, family: str) -> list[str]:
    return [name for name in kept if has_family(base[name].shape, family)]


def _column_sizes(kept: Sequence[str], base: Layouts) -> list[int]:
    sizes = []
    for family in FAMILIES:
        sizes += [len(_fitting(kept, base, family))] * (1 + (family in RANKED))
    return sizes


def _columns(kept: Sequence[str], changes: Mapping[str, TensorChange], base: Layouts) -> list[NDArray[np.int16]]:
    """Return for each family: 0 for a tensor that does not change so, else 1 + how much its step differs from the last
    one's; and for matrices the ranks."""
    columns = []
    for family in FAMILIES:
        steps, ranks, last = [], [], 0
        for name in _fitting(kept, base, family):
            change = changes.get(name, TensorChange()).changes.get(family)
            steps.append(0 if change is None else 1 + zigzag(change.step_code - last))
            ranks.append(0 if change is None else change.rank)
            last = last if change is None else change.step_code
        columns += [steps, ranks] if family in RANKED else [steps]
    return [np.array(column, np.int16) for column in columns]


def _outlines(
    kept: Sequence[str], base: Layouts, columns: Sequence[NDArray[np.int16]]
) -> dict[str, dict[str, tuple[int, int]]]:
    """Return the step and the rank of each change, by name and family. Raises UpdateError on impossible ones."""
    found: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in kept}
    remaining = iter(columns)
    for family in FAMILIES:
        steps = next(remaining)
        ranks = next(remaining) if family in RANKED else np.zeros(len(steps), np.int16)
        last = 0
        for name, coded, rank in zip(_fitting(kept, base, family), steps.tolist(), ranks.tolist(), strict=True):
            if coded == 0:
                _check(rank == 0, f"a rank of what does not change in {name}")
                continue
            last += unzigzag(coded - 1)
            most = most_rank(base[name].shape)
            _check(coded > 0 and abs(last) <= MAX_STEP_CODE, f"a step of {name} beyond all numbers")
            _check(family not in RANKED or 1 <= rank <= most, f"rank {rank} of {name}, which has at most {most}")
            found[name][family] = last, rank
    return found


def _whole_bytes(name: str, one: WholeTensor, names: Sequence[str]) -> bytes:
    place = number_bytes(1 + names.index(name)) if name in names else number_bytes(0) + text_bytes(name)
    kind, axes = number_bytes(DTYPES.index(one.layout.dtype)), number_bytes(len(one.layout.shape))
    return place + kind + axes + b"".join(map(number_bytes, (*one.layout.shape, zigzag(one.step_code))))


def _read_whole(reader: ByteReader, names: Sequence[str]) -> tuple[str, WholeTensor]:
    place = reader.number(len(names))
    name = reader.text(MAX_NAME_BYTES) if place == 0 else names[place - 1]
    dtype = DTYPES[reader.number(len(DTYPES) - 1)]
    shape = tuple(reader.number(MAX_SIDE) for _ in range(reader.number(MAX_AXES)))
    step = unzigzag(reader.number(2 * MAX_STEP_CODE))
    _check(prod(shape) <= MAX_SYMBOLS, f"{name} of the shape {shape}")
    return name, WholeTensor(Layout(dtype, shape), step, np.zeros(0, np.int16))


def _places(places: Sequence[int]) -> bytes:
    return number_bytes(len(places)) + b"".join(map(number_bytes, places))


def _name_at(reader: ByteReader, names: Sequence[str]) -> str:
    return names[reader.number(len(names) - 1)]


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise UpdateError(f"the update has {what}: it is damaged, or hostile")
