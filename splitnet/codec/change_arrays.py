"""Flags and changes of a whole frame at once, without a compiler: what `change_coder` finds one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.change_contexts import change_context, flag_context
from splitnet.codec.references import Reference


def changes_at_once(
    symbols: NDArray[np.int16],
    reference: Reference,
    centre: NDArray[np.int16],
    flag_rows: NDArray[np.uint16],
    change_rows: NDArray[np.uint16],
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return the flags and changes of symbols (C, H, W) in the order of coding, and what the rows say of each.

    flag_rows: (FLAG_CONTEXTS,), change_rows: (C, CHANGE_CONTEXTS), such as tables. The encoder knows every symbol
    beforehand, so that all contexts can be told at once.
    """
    change = symbols.astype(np.int32) - reference.symbols
    flags = (change != 0).any(axis=0)
    changed = np.flatnonzero(flags)
    channels = len(symbols)
    where = np.arange(flags.size) + channels * (np.cumsum(flags) - flags.ravel())  # of each flag in the order of coding
    values = np.empty(flags.size + channels * len(changed), np.int16)
    found = np.empty(values.size, np.uint16)
    values[where], found[where] = flags.ravel(), flag_rows[_flag_contexts(flags, reference.changed)].ravel()
    behind = where[changed] + 1 + np.arange(channels)[:, None]  # (C, changed positions)
    distance = (reference.symbols.astype(np.int32) - centre[:, None, None]).reshape(channels, -1)[:, changed]
    contexts = _change_contexts(change, distance, changed)
    amounts = change.reshape(channels, -1)[:, changed]
    values[behind] = np.where(distance < 0, -amounts, amounts).astype(np.int16)  # wraps around, and back when decoded
    found[behind] = change_rows[np.arange(channels)[:, None], contexts]
    return values, found


def _flag_contexts(flags: NDArray[np.bool_], before: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the context of every position's flag (H, W)."""
    own, old = np.pad(flags.astype(np.int64), ((1, 0), (1, 1))), np.pad(before.astype(np.int64), 1)
    height, columns = flags.shape
    around = sum(old[row : row + height, column : column + columns] for row in range(3) for column in range(3))
    near = (own[1:, :-2], own[:-1, 1:-1], own[:-1, :-2], own[:-1, 2:])
    return np.asarray(flag_context(*near, old[1:-1, 1:-1], around))  # type: ignore[arg-type]


def _change_contexts(
    change: NDArray[np.int32], distance: NDArray[np.int32], changed: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Return the contexts (C, changed positions) of the changes (C, H, W) at those positions."""
    amounts = np.pad(np.abs(change), ((0, 0), (1, 0), (1, 0)))
    beside = (amounts[:, 1:, :-1] + amounts[:, :-1, 1:]).reshape(len(change), -1)[:, changed]
    differs = (change != 0).reshape(len(change), -1)[:, changed]
    so_far = np.cumsum(differs, axis=0) - differs
    return np.asarray(change_context(np.abs(distance), beside, so_far))  # type: ignore[arg-type]
