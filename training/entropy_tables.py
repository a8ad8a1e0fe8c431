"""The integer tables of a bundle, fitted on the symbols of training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from splitnet.codec.contexts import NEIGHBOURHOODS, contexts
from splitnet.codec.entropy_model import EntropyModel

HISTOGRAM_RADIUS = 255  # symbols beyond are escapes anyway
_BINS = 2 * HISTOGRAM_RADIUS + 1

Symbols = NDArray[np.int16]  # (C, h, w)
Histogram = Callable[[Symbols, int, int], NDArray[np.int64]]  # of symbols at a width and a quality, both from 0
Quantise = Callable[[Tensor, int, int], Symbols]  # of a latent (C, h, w) at a width, from 1, and a quality, from 0


def fit_tables(latents: Sequence[Sequence[Tensor]], qualities: int, quantise: Quantise) -> EntropyModel:
    """Return the tables, in contexts, of the symbols of images.

    latents: for each width those of all images, (C, h, w) each. First come the channels' own tables, since a context
    is measured from the symbol that they expect most; then those of the contexts.
    """

    def gathered(histogram: Histogram, rows: tuple[int, ...]) -> NDArray[np.int32]:
        counts = np.zeros((len(latents), qualities, *rows, _BINS), np.int32)
        for width, quality in np.ndindex(counts.shape[:2]):
            for latent in latents[width]:
                counts[width, quality] += histogram(quantise(latent, width + 1, quality), width, quality)
        return counts

    channels = len(latents[0][0])
    alone = EntropyModel.fit(gathered(lambda symbols, width, quality: symbol_histogram(symbols), (channels,)))
    centres = alone.likeliest
    return alone.with_contexts(
        gathered(
            lambda symbols, width, quality: context_histogram(symbols, centres[width, quality]),
            (channels, NEIGHBOURHOODS),
        )
    )


def symbol_histogram(symbols: Symbols) -> NDArray[np.int64]:
    """Return how often each of -R..R occurs in each channel of (C, h, w), as (C, 2R+1)."""
    return _histogram(symbols, np.arange(len(symbols))[:, None, None], len(symbols))


def context_histogram(symbols: Symbols, centre: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return how often each of -R..R occurs in each context of each channel, as (C, NEIGHBOURHOODS, 2R+1)."""
    channels = len(symbols)
    row = NEIGHBOURHOODS * np.arange(channels)[:, None, None] + contexts(symbols, centre) - 1
    return _histogram(symbols, row, channels * NEIGHBOURHOODS).reshape(channels, NEIGHBOURHOODS, _BINS)


def _histogram(symbols: Symbols, row: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    shifted = symbols.astype(np.int64) + HISTOGRAM_RADIUS
    inside = (shifted >= 0) & (shifted < _BINS)
    flat = (shifted + _BINS * row)[inside]
    return np.bincount(flat, minlength=rows * _BINS).reshape(rows, _BINS)
