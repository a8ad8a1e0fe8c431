"""What numbers take on the wire: every method's go through the same coders, and the smaller result counts.

Integers by the updates' own entropy coder, each group under the parametric table that suits it, or by Zstandard.
Floats by Zstandard, their bytes in planes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import zstandard
from numpy.typing import NDArray

from splitnet.updates.weights.symbol_coder import encode_groups

ZSTD_LEVEL = 19
QUICK_LEVEL = 9  # of symbols, where the entropy coder is nearly always ahead
HEADER_BYTES = 24  # digests of base and result, eight bytes each, version, sizes: as in an update of ours

Symbols = NDArray[np.int16]


def symbol_bytes(groups: Sequence[Symbols]) -> int:
    """Return how many bytes groups of integers take, the sizes of which both ends know."""
    if not groups:
        return 0
    flat = np.concatenate([group.ravel() for group in groups]).astype(np.int16)
    return min(len(encode_groups([group.ravel() for group in groups])), plane_bytes(flat, QUICK_LEVEL))


def float16_bytes(values: Sequence[NDArray[np.floating]]) -> int:
    """Return how many bytes floats take in half precision."""
    if not values:
        return 0
    return plane_bytes(np.concatenate([np.asarray(one, np.float16).ravel() for one in values]))


def plane_bytes(values: NDArray[np.generic], level: int = ZSTD_LEVEL) -> int:
    """Return how many bytes an array takes under Zstandard: as it is, or its first bytes, then its second ones."""
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.dtype.itemsize)
    return min(zstd_bytes(one.tobytes(), level) for one in (raw, np.ascontiguousarray(raw.T)))


def zstd_bytes(data: bytes, level: int = ZSTD_LEVEL) -> int:
    """Return how many bytes data take under Zstandard, or as they are."""
    return min(len(data), len(zstandard.ZstdCompressor(level=level).compress(data)))


def mask_bytes(masks: Sequence[NDArray[np.bool_]]) -> int:
    """Return how many bytes masks take: by their run lengths, or bit by bit, whichever is less."""
    runs = [run_lengths(mask) for mask in masks]
    bits = np.concatenate([mask.ravel() for mask in masks])
    packed = zstd_bytes(np.packbits(bits).tobytes())
    return min(symbol_bytes(runs), symbol_bytes([mask.ravel().astype(np.int16) for mask in masks]), packed)


def run_lengths(mask: NDArray[np.bool_]) -> Symbols:
    """Return how many zeros come before each one of a mask; what follows the last one is not said.

    A run beyond int16 is said in parts: each full part is its greatest value, and no one follows it.
    """
    most = np.iinfo(np.int16).max
    gaps = np.diff(np.flatnonzero(mask.ravel()), prepend=-1) - 1
    parts = [part for gap in gaps.tolist() for part in (*[most] * (gap // most), gap % most)]
    return np.array(parts, np.int16)
