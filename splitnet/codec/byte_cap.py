"""The cap on a frame's bytes at an operating point, whatever it shows.

The channels' own tables are the statistics of the training pictures, so they say what a picture takes at most: their
entropy, of which contexts save a part. Photographs stay well below twice that; coloured blocks of noise take four or
five times as much, and would burst a slow link.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.bitstream import HEADER_BYTES
from splitnet.codec.contexts import ALONE
from splitnet.codec.entropy_model import TOTAL, EntropyModel

CAP_FACTOR = 2.0  # of what the tables expect of a picture that fills its square
MAX_HALVINGS = 16  # of an int16's distance: afterwards every symbol is the likeliest


def byte_caps(model: EntropyModel, positions: Sequence[int]) -> NDArray[np.int64]:
    """Return the most bytes of a bitstream at each point (widths, qualities), header included.

    positions: H * W of the largest latent of each width.
    """
    bits = _entropies(model)[model.table_index[..., ALONE]].sum(axis=-1) * np.array(positions)[:, None]
    return np.asarray(HEADER_BYTES + np.ceil(CAP_FACTOR * bits / 8), np.int64)


def halved(symbols: NDArray[np.int16], centre: NDArray[np.int16], times: int) -> NDArray[np.int16]:
    """Return symbols (C, H, W) at 1 / 2**times of their distance from a centre (C,), rounded towards it."""
    distance = symbols.astype(np.int32) - centre[:, None, None]
    shrunk = np.sign(distance) * (np.abs(distance) >> times)
    return np.asarray(centre[:, None, None] + shrunk, np.int16)


def _entropies(model: EntropyModel) -> NDArray[np.float64]:
    """Return what a symbol of each table costs on average, in bits (tables,)."""
    rows = np.split(model.quantized_cdf.astype(np.int64), model.cdf_start[1:-1])
    shares = [np.diff(row) / TOTAL for row in rows]
    return np.array([-(share * np.log2(share)).sum() for share in shares])
