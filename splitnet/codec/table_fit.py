"""Integer tables from histograms: smoothing, tails left to the escape, and tables that many channels share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]

PRIOR_WEIGHT = 32.0  # observations that what is believed beforehand is worth
_ESCAPE_COST_SLOTS = 8.0  # what an escaped symbol costs beyond its own entry, in bits, about
_ROUNDS = 5  # of regrouping
_RARE = 1e-7  # share of a symbol below which it does not count for the grouping
_CHUNK = 4096  # histograms compared at a time: bounds the memory


def fit_table(counts: Counts, total: int) -> tuple[int, bytes]:
    """Return the first symbol of a table for a histogram (2R+1,) of -R..R, and its cdf to `total` as uint16 bytes."""
    radius = counts.size // 2
    share = (counts + PRIOR_WEIGHT * _geometric(counts)) / (counts.sum() + PRIOR_WEIGHT)
    mode = int(share.argmax())
    first = _cheap_tail(share[:mode], total)
    last = counts.size - _cheap_tail(share[:mode:-1], total)
    kept = share[first:last]
    frequencies = _quantise(np.append(kept, max(0.0, 1.0 - kept.sum())), total)
    cdf = np.concatenate(([0], np.cumsum(frequencies)))
    return first - radius, cdf.astype(np.uint16).tobytes()


def grouped(counts: NDArray[np.float32], limit: int) -> NDArray[np.int64]:
    """Return a group (n,) below `limit` for each of n histograms (n, B), so that groups code them in few bits.

    Lloyd's algorithm with code length as the distance. It starts from histograms chosen one after the other, always the
    one that those before would code worst.
    """
    total = counts.sum(axis=0)
    used = total > _RARE * total.sum()
    counts = np.ascontiguousarray(counts[:, used])
    groups = _nearest(counts, counts[_worst_coded(counts, limit)])
    for _ in range(_ROUNDS):
        sums = np.zeros((limit, counts.shape[1]), np.float32)
        np.add.at(sums, groups, counts)
        groups = _nearest(counts, sums[sums.any(axis=1)])
    return groups


def _worst_coded(counts: NDArray[np.float32], limit: int) -> list[int]:
    ideal = np.einsum("nb,nb->n", counts, _costs(counts))
    best = np.full(len(counts), np.inf)
    chosen = [int(ideal.argmax())]
    while len(chosen) < min(limit, len(counts)):
        best = np.minimum(best, counts @ _costs(counts[chosen[-1:]])[0])
        chosen.append(int((best - ideal).argmax()))
    return chosen


def _nearest(counts: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    costs = _costs(centres).T
    chunks = range(0, len(counts), _CHUNK)
    return np.concatenate([(counts[i : i + _CHUNK] @ costs).argmin(axis=1) for i in chunks])


def _costs(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the bits of each symbol under histograms (n, B), none of them without end."""
    share = (counts + 1e-3) / (counts + 1e-3).sum(axis=1, keepdims=True)
    return np.asarray(-np.log2(share), np.float32)


def _geometric(counts: Counts) -> NDArray[np.float64]:
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


def _cheap_tail(share: NDArray[np.float64], total: int) -> int:
    """Return how many leading entries are better left to the escape, since each takes a slot of the total."""
    gain = 1.0 / total - _ESCAPE_COST_SLOTS * share
    return int(np.argmax(np.concatenate(([0.0], np.cumsum(gain)))))


def _quantise(share: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Round a distribution to integers of at least 1 with this sum."""
    frequencies = 1 + np.floor(share * (total - share.size)).astype(np.int64)
    frequencies[frequencies.argmax()] += total - frequencies.sum()
    return frequencies
