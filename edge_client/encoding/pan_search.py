"""Pans: by how many whole positions of the latent a scene has moved since the frame that is built on. Pure.

By phase correlation (Kuglin and Hines, 1975) of the symbols themselves: unlike a thumbnail of the image, they are there
already for both frames. Channels are added up in a few groups, and the groups vote.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

GROUPS = 8  # of channels; one alone has too little to go by, and each by itself takes longer than coding
MAX_SHIFT = 127  # positions, that a header has room for
_FAINT = 1e-3  # beside a symbol's step: a frequency that both frames lack says nothing

Shift = tuple[int, int]  # positions down and right
STILL: Shift = (0, 0)


def likely_shift(symbols: NDArray[np.int16], reference: NDArray[np.int16]) -> Shift:
    """Return how far a scene has likely moved from a reference's symbols (C, H, W) to a frame's of the same shape.

    At most half the frame either way. The caller checks whether it is true: there is a likeliest shift of any two.
    """
    now, before = _spectra(symbols), _spectra(reference)
    cross = now * before.conj()
    votes = (cross / (np.abs(cross) + _FAINT)).sum(axis=0)
    height, width = symbols.shape[1:]
    peak = int(np.fft.irfft2(votes, (height, width)).argmax())
    return _signed(peak // width, height), _signed(peak % width, width)


def _spectra(symbols: NDArray[np.int16]) -> NDArray[np.complexfloating]:
    channels, height, width = symbols.shape
    groups = min(GROUPS, channels)
    used = symbols[: channels // groups * groups].reshape(groups, -1, height, width)
    return np.asarray(np.fft.rfft2(used.sum(axis=1, dtype=np.int32) * _window(height, width)))


@cache
def _window(height: int, width: int) -> NDArray[np.float64]:
    """Return weights that leave a frame no edges, which would be a cross in its spectrum."""
    return np.asarray(np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1])


def _signed(place: int, size: int) -> int:
    """Return a place on a circle of a size as the way there, forwards or backwards, whichever is shorter."""
    way = place if place <= size // 2 else place - size
    return max(-MAX_SHIFT, min(MAX_SHIFT, way))
