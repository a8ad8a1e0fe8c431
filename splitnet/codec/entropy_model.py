"""Probabilities of the latent's symbols, frozen to integer tables and shipped with the weights.

One distribution per channel, width and quality (Balle et al. 2018, section 3; frozen to integers as in CompressAI), or
one for each context that a symbol's neighbours make (`splitnet.codec.contexts`). Both ends read the same integers, so
their platforms' floats cannot disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.contexts import ALONE, CONTEXTS, NEIGHBOURHOODS, TableChoice
from splitnet.codec.table_fit import PRIOR_WEIGHT, fit_table, grouped
from splitnet.errors import BundleError, ConfigError

PRECISION_BITS = 15  # a zero in a channel that is always zero costs 4e-5 bit, and a whole cdf fits uint16
TOTAL = 1 << PRECISION_BITS  # the sum of a table's frequencies
ESCAPE_LENGTH_BITS = 5  # bits that tell the length of an escaped value
SYMBOL_MIN, SYMBOL_MAX = -(1 << 15), (1 << 15) - 1
MAX_RADIUS = 4096  # widest histogram that fit() takes
MIN_SEEN = 16  # symbols in a context, below which the channel's own table is as good
MAX_SHARED_TABLES = 1024  # of all contexts together: each takes a kilobyte in memory


@dataclass(frozen=True, eq=False)
class EntropyModel:
    """Integer cumulative frequencies, one ragged row per table, and which table each channel uses in which context.

    Table t covers the symbols offset[t], offset[t] + 1, ...; its row is
    quantized_cdf[cdf_start[t]:cdf_start[t + 1]], rising from 0 to 2**PRECISION_BITS. The last entry is the
    escape: any other int16 value follows as plain bits. Raise BundleError if the arrays are not such tables.
    """

    quantized_cdf: NDArray[np.uint16]  # (total,)
    cdf_start: NDArray[np.int32]  # (tables + 1,)
    offset: NDArray[np.int32]  # (tables,)
    table_index: NDArray[np.uint16]  # (widths, qualities, channels, 1 or CONTEXTS)

    def __post_init__(self) -> None:
        """Check every array, since they come from files."""
        _check_layout(self)
        check_tables(self.quantized_cdf, self.cdf_start, self.offset)

    @classmethod
    def fit(cls, counts: NDArray[np.integer[Any]]) -> EntropyModel:
        """Make tables without contexts from histograms (widths, qualities, channels, 2R+1) of the symbols -R..R."""
        if counts.ndim != 4 or counts.shape[3] % 2 == 0 or not 1 <= counts.shape[3] // 2 <= MAX_RADIUS:
            raise ValueError(f"counts must be (widths, qualities, channels, 2R+1), R <= {MAX_RADIUS}")
        rows: dict[tuple[int, bytes], int] = {}
        table_index = np.zeros((*counts.shape[:3], 1), np.uint16)
        for position in np.ndindex(counts.shape[:3]):
            row = fit_table(counts[position], TOTAL)
            table_index[position] = rows.setdefault(row, len(rows))
        return cls(*joined(rows), table_index)

    def with_contexts(self, counts: NDArray[np.integer[Any]]) -> EntropyModel:
        """Add tables for every context to a model without, from histograms of the symbols -R..R in contexts 1..9.

        counts: (widths, qualities, channels, NEIGHBOURHOODS, 2R+1), the contexts taken around `likeliest`. A context
        that was hardly seen has the channel's own table; similar ones share one.
        """
        if self.contexts > 1 or counts.shape[:-1] != (*self.table_index.shape[:3], NEIGHBOURHOODS):
            raise ValueError(f"counts must be (widths, qualities, channels, {NEIGHBOURHOODS}, 2R+1), of a plain model")
        seen = counts.sum(axis=-1) >= MIN_SEEN
        if not seen.any():
            return self._extended([], np.broadcast_to(self.table_index, seen.shape))
        channel = np.broadcast_to(self.table_index, seen.shape)[seen]
        smooth = np.asarray(PRIOR_WEIGHT * _shares(self, counts.shape[-1])[channel] + counts[seen], np.float32)
        groups = grouped(smooth, MAX_SHARED_TABLES)
        used, groups = np.unique(groups, return_inverse=True)
        rows = [fit_table(smooth[groups == group].sum(axis=0, dtype=np.float64), TOTAL) for group in range(used.size)]
        index = np.broadcast_to(self.table_index, seen.shape).astype(np.int64)
        index[seen] = self.offset.size + groups
        return self._extended(rows, index)

    def _extended(self, rows: Sequence[tuple[int, bytes]], index: NDArray[np.integer[Any]]) -> EntropyModel:
        """Return a model with more tables, and with more contexts (widths, qualities, channels, more) that use them."""
        table_index = np.concatenate([self.table_index, index], axis=3).astype(np.uint16)
        if not rows:
            return EntropyModel(self.quantized_cdf, self.cdf_start, self.offset, table_index)
        cdf, start, offset = joined(rows)
        return EntropyModel(
            np.concatenate([self.quantized_cdf, cdf]),
            np.concatenate([self.cdf_start, self.cdf_start[-1] + start[1:]]).astype(np.int32),
            np.concatenate([self.offset, offset]),
            table_index,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> EntropyModel:
        """Read a model from the arrays of a bundle; raise BundleError if they do not form one."""
        try:
            found = {name: np.ascontiguousarray(arrays[name]) for name in _DTYPES}
        except KeyError as missing:
            raise BundleError(f"the bundle lacks the entropy table {missing}; fetch it again") from None
        if found["table_index"].ndim == 3:  # (widths, qualities, channels): a bundle without contexts
            found["table_index"] = found["table_index"][..., None]
        return cls(**found)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays to store, by name."""
        return {name: getattr(self, name) for name in _DTYPES}

    def digest(self) -> bytes:
        """Return 8 bytes that name the tables (a prefix of SHA-256)."""
        sha = hashlib.sha256()
        for name, array in self.to_arrays().items():
            sha.update(f"{name}{array.shape}".encode())
            sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return sha.digest()[:8]

    @property
    def widths(self) -> int:
        """The number of widths; they count from 1."""
        return int(self.table_index.shape[0])

    @property
    def qualities(self) -> int:
        """The number of qualities; they count from 0."""
        return int(self.table_index.shape[1])

    @property
    def channels(self) -> int:
        """The number of channels of the latent."""
        return int(self.table_index.shape[2])

    @property
    def contexts(self) -> int:
        """The number of tables that a channel has at one operating point: 1 or CONTEXTS."""
        return int(self.table_index.shape[3])

    @cached_property
    def likeliest(self) -> NDArray[np.int16]:
        """The symbol that each channel's own table expects most, the escape apart (widths, qualities, channels)."""
        rows = np.split(self.quantized_cdf.astype(np.int64), self.cdf_start[1:-1])
        likeliest = np.array([int(np.diff(row)[:-1].argmax()) for row in rows]) + self.offset
        return np.asarray(likeliest[self.table_index[..., ALONE]], np.int16)

    def choice(self, width: int, quality: int, channels: int) -> TableChoice:
        """Return the tables of the leading channels at an operating point.

        Raise ConfigError if the model has no such width, quality or as many channels.
        """
        if not (1 <= width <= self.widths and 0 <= quality < self.qualities):
            raise ConfigError(
                f"width {width}, quality {quality} are not in this bundle: "
                f"choose a width of 1..{self.widths} and a quality of 0..{self.qualities - 1}"
            )
        if channels > self.channels:
            raise ConfigError(f"the bundle has {self.channels} latent channels, not {channels}")
        point = (width - 1, quality, slice(channels))
        return TableChoice(self.table_index[point], self.likeliest[point])

    def escaped(self, symbols: NDArray[np.int16], width: int, quality: int) -> NDArray[np.bool_]:
        """Tell which symbols (C, H, W) lie outside their table, as a flat (C*H*W,) mask."""
        entry, regular = self._entries(symbols, self.choice(width, quality, len(symbols)).indexes(symbols))
        return (entry < 0) | (entry >= regular)

    def bits(self, symbols: NDArray[np.int16], width: int, quality: int) -> float:
        """Return the ideal code length of symbols (C, H, W) under the tables, escapes included, in bits."""
        tables = self.choice(width, quality, len(symbols)).indexes(symbols)
        entry, regular = self._entries(symbols, tables)
        escaped = (entry < 0) | (entry >= regular)
        position = self.cdf_start[tables] + np.where(escaped, regular, entry)
        frequency = np.diff(self.quantized_cdf.astype(np.int64))[position]
        below, above = -1 - entry[entry < 0], (entry - regular)[entry >= regular]
        magnitude = np.concatenate([2 * below + 1, 2 * above]) + 1
        escape_bits = ESCAPE_LENGTH_BITS * magnitude.size + np.floor(np.log2(magnitude)).sum()
        return float(PRECISION_BITS * entry.size - np.log2(frequency).sum() + escape_bits)

    def _entries(
        self, symbols: NDArray[np.int16], tables: NDArray[np.uint16]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return each symbol's place in its table and how many places the table has, the escape apart."""
        entry = symbols.ravel().astype(np.int64) - self.offset[tables]
        regular = np.diff(self.cdf_start).astype(np.int64)[tables] - 2
        return entry, regular


_DTYPES = {
    "quantized_cdf": np.dtype(np.uint16),
    "cdf_start": np.dtype(np.int32),
    "offset": np.dtype(np.int32),
    "table_index": np.dtype(np.uint16),
}


def joined(
    rows: Iterable[tuple[int, bytes]],
) -> tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.int32]]:
    """Return the cdfs, starts and offsets of tables that are given by first symbol and cdf."""
    firsts, cdfs = zip(*((first, np.frombuffer(cdf, np.uint16)) for first, cdf in rows), strict=True)
    start = np.cumsum([0] + [cdf.size for cdf in cdfs])
    return np.concatenate(cdfs), start.astype(np.int32), np.array(firsts, np.int32)


def _shares(model: EntropyModel, bins: int) -> NDArray[np.float64]:
    """Return the probability of the symbols -R..R in each table, the escape left out, as (tables, 2R+1)."""
    found = np.zeros((model.offset.size, bins))
    for table, first in enumerate(model.offset):
        row = model.quantized_cdf[model.cdf_start[table] : model.cdf_start[table + 1]].astype(np.int64)
        begin = int(first) + bins // 2
        found[table, begin : begin + row.size - 2] = np.diff(row)[:-1] / TOTAL
    return found


def _check_layout(model: EntropyModel) -> None:
    for name, dtype in _DTYPES.items():
        array = getattr(model, name)
        dimensions = 4 if name == "table_index" else 1
        if array.dtype != dtype or array.ndim != dimensions or array.size == 0:
            raise BundleError(f"entropy table {name} has the wrong type or shape: the bundle is damaged")
    tables = model.offset.size
    indexed = model.contexts in (1, CONTEXTS) and int(model.table_index.max()) < tables
    if model.cdf_start.size != tables + 1 or not indexed:
        raise BundleError("the entropy tables contradict one another: the bundle is damaged")


def check_tables(quantized_cdf: NDArray[np.uint16], cdf_start: NDArray[np.int32], offset: NDArray[np.int32]) -> None:
    """Raise BundleError unless cdfs (total,), starts (tables + 1,) and offsets (tables,) are distributions."""
    start, cdf = cdf_start.astype(np.int64), quantized_cdf.astype(np.int64)
    length = np.diff(start)
    if start[0] != 0 or start[-1] != cdf.size or length.min() < 3:
        raise BundleError("the entropy tables' borders are wrong: the bundle is damaged")
    within = np.ones(cdf.size, np.bool_)
    within[start[1:] - 1] = False  # the step from one table to the next is not a frequency
    rising = np.diff(cdf, append=0)[within].min() >= 1
    if not rising or (cdf[start[:-1]] != 0).any() or (cdf[start[1:] - 1] != TOTAL).any():
        raise BundleError("an entropy table is not a distribution: the bundle is damaged")
    last = offset + length - 3
    if offset.min() < SYMBOL_MIN or last.max() > SYMBOL_MAX:
        raise BundleError("an entropy table leaves the range of int16: the bundle is damaged")
