"""Probabilities of the latent's symbols, frozen to integer tables and shipped with the weights.

Factorised model: one distribution per channel, width and quality (Balle et al. 2018, section 3; frozen to
integers as in CompressAI). Both ends read the same integers, so their platforms' floats cannot disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import BundleError, ConfigError

PRECISION_BITS = 15  # a zero in a channel that is always zero costs 4e-5 bit, and a whole cdf fits uint16
TOTAL = 1 << PRECISION_BITS  # the sum of a table's frequencies
ESCAPE_LENGTH_BITS = 5  # bits that tell the length of an escaped value
SYMBOL_MIN, SYMBOL_MAX = -(1 << 15), (1 << 15) - 1
MAX_RADIUS = 4096  # widest histogram that fit() takes
_PRIOR_WEIGHT = 32.0  # observations that the smooth prior is worth
_ESCAPE_COST_SLOTS = 8.0  # what an escaped symbol costs beyond its own entry, in bits, about


@dataclass(frozen=True, eq=False)
class EntropyModel:
    """Integer cumulative frequencies, one ragged row per table, and which table each channel uses.

    Table t covers the symbols offset[t], offset[t] + 1, ...; its row is
    quantized_cdf[cdf_start[t]:cdf_start[t + 1]], rising from 0 to 2**PRECISION_BITS. The last entry is the
    escape: any other int16 value follows as plain bits. Raise BundleError if the arrays are not such tables.
    """

    quantized_cdf: NDArray[np.uint16]  # (total,)
    cdf_start: NDArray[np.int32]  # (tables + 1,)
    offset: NDArray[np.int32]  # (tables,)
    table_index: NDArray[np.uint16]  # (widths, qualities, channels)

    def __post_init__(self) -> None:
        """Check every array, since they come from files."""
        _check_layout(self)
        _check_tables(self)

    @classmethod
    def fit(cls, counts: NDArray[np.int64]) -> EntropyModel:
        """Make tables from histograms (widths, qualities, channels, 2R+1) of the symbols -R..R."""
        if counts.ndim != 4 or counts.shape[3] % 2 == 0 or not 1 <= counts.shape[3] // 2 <= MAX_RADIUS:
            raise ValueError(f"counts must be (widths, qualities, channels, 2R+1), R <= {MAX_RADIUS}")
        rows: dict[tuple[int, bytes], int] = {}
        table_index = np.zeros(counts.shape[:3], np.uint16)
        for position in np.ndindex(table_index.shape):
            row = _fit_table(counts[position])
            table_index[position] = rows.setdefault(row, len(rows))
        cdfs = [np.frombuffer(cdf, np.uint16) for _, cdf in rows]
        start = np.cumsum([0] + [cdf.size for cdf in cdfs]).astype(np.int32)
        offset = np.array([first for first, _ in rows], np.int32)
        return cls(np.concatenate(cdfs), start, offset, table_index)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> EntropyModel:
        """Read a model from the arrays of a bundle; raise BundleError if they do not form one."""
        try:
            return cls(*(np.ascontiguousarray(arrays[name]) for name in _DTYPES))
        except KeyError as missing:
            raise BundleError(f"the bundle lacks the entropy table {missing}; fetch it again") from None

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

    def indexes(self, width: int, quality: int, shape: tuple[int, int, int]) -> NDArray[np.uint16]:
        """Return the table of each symbol (C*H*W,) of a latent (C, H, W): context model 0, by channel alone.

        C may be less than the model's channels: the leading ones are meant. Raise ConfigError if the model
        has no such width or quality.
        """
        if not (1 <= width <= self.widths and 0 <= quality < self.qualities):
            raise ConfigError(
                f"width {width}, quality {quality} are not in this bundle: "
                f"choose a width of 1..{self.widths} and a quality of 0..{self.qualities - 1}"
            )
        channels, height, columns = shape
        if channels > self.channels:
            raise ConfigError(f"the bundle has {self.channels} latent channels, not {channels}")
        return np.repeat(self.table_index[width - 1, quality, :channels], height * columns)

    def escaped(self, symbols: NDArray[np.int16], width: int, quality: int) -> NDArray[np.bool_]:
        """Tell which symbols (C, H, W) lie outside their table, as a flat (C*H*W,) mask."""
        entry, regular = self._entries(symbols, self.indexes(width, quality, _shape(symbols)))
        return (entry < 0) | (entry >= regular)

    def bits(self, symbols: NDArray[np.int16], width: int, quality: int) -> float:
        """Return the ideal code length of symbols (C, H, W) under the tables, escapes included, in bits."""
        tables = self.indexes(width, quality, _shape(symbols))
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


def _shape(symbols: NDArray[np.int16]) -> tuple[int, int, int]:
    channels, height, width = symbols.shape
    return channels, height, width


def _check_layout(model: EntropyModel) -> None:
    for name, dtype in _DTYPES.items():
        array = getattr(model, name)
        dimensions = 3 if name == "table_index" else 1
        if array.dtype != dtype or array.ndim != dimensions or array.size == 0:
            raise BundleError(f"entropy table {name} has the wrong type or shape: the bundle is damaged")
    tables = model.offset.size
    if model.cdf_start.size != tables + 1 or int(model.table_index.max()) >= tables:
        raise BundleError("the entropy tables contradict one another: the bundle is damaged")


def _check_tables(model: EntropyModel) -> None:
    start, cdf = model.cdf_start.astype(np.int64), model.quantized_cdf.astype(np.int64)
    length = np.diff(start)
    if start[0] != 0 or start[-1] != cdf.size or length.min() < 3:
        raise BundleError("the entropy tables' borders are wrong: the bundle is damaged")
    within = np.ones(cdf.size, np.bool_)
    within[start[1:] - 1] = False  # the step from one table to the next is not a frequency
    rising = np.diff(cdf, append=0)[within].min() >= 1
    if not rising or (cdf[start[:-1]] != 0).any() or (cdf[start[1:] - 1] != TOTAL).any():
        raise BundleError("an entropy table is not a distribution: the bundle is damaged")
    last = model.offset + length - 3
    if model.offset.min() < SYMBOL_MIN or last.max() > SYMBOL_MAX:
        raise BundleError("an entropy table leaves the range of int16: the bundle is damaged")


def _fit_table(counts: NDArray[np.int64]) -> tuple[int, bytes]:
    """Return the first symbol of a table and its cdf as uint16 bytes."""
    radius = counts.size // 2
    share = (counts + _PRIOR_WEIGHT * _geometric(counts)) / (counts.sum() + _PRIOR_WEIGHT)
    mode = int(share.argmax())
    first = _cheap_tail(share[:mode])
    last = counts.size - _cheap_tail(share[:mode:-1])
    kept = share[first:last]
    frequencies = _quantise(np.append(kept, max(0.0, 1.0 - kept.sum())))
    cdf = np.concatenate(([0], np.cumsum(frequencies)))
    return first - radius, cdf.astype(np.uint16).tobytes()


def _geometric(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the two-sided geometric distribution fitted to a histogram: what unseen data may look like."""
    symbols = np.arange(counts.size) - counts.size // 2
    cumulated = np.cumsum(counts)
    median = int(symbols[np.searchsorted(cumulated, cumulated[-1] / 2)]) if cumulated[-1] else 0
    distance = np.abs(symbols - median)
    # One imagined symbol at distance 1 keeps the spread above zero.
    spread = (float(counts @ distance) + 1.0) / (float(cumulated[-1]) + 1.0)
    ratio = (np.sqrt(1.0 + spread * spread) - 1.0) / spread  # solves E|k| = 2 r / (1 - r^2) = spread
    result: NDArray[np.float64] = (1.0 - ratio) / (1.0 + ratio) * ratio**distance
    return result


def _cheap_tail(share: NDArray[np.float64]) -> int:
    """Return how many leading entries are better left to the escape, since each takes a slot of TOTAL."""
    gain = 1.0 / TOTAL - _ESCAPE_COST_SLOTS * share
    return int(np.argmax(np.concatenate(([0.0], np.cumsum(gain)))))


def _quantise(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round a distribution to integers of at least 1 whose sum is TOTAL."""
    frequencies = 1 + np.floor(share * (TOTAL - share.size)).astype(np.int64)
    frequencies[frequencies.argmax()] += TOTAL - frequencies.sum()
    return frequencies
