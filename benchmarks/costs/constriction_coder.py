"""The same symbols through constriction's ANS coder, where it is installed: the fastest published rival."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.benchmark import milliseconds_p50
from splitnet.codec.contexts import ALONE
from splitnet.codec.entropy_model import TOTAL, EntropyModel

try:
    import constriction
except ImportError:
    constriction = None

Channels = list[tuple[NDArray[np.int32], object]]  # places in the table, and the table as its model


def measure(
    model: EntropyModel, symbols: NDArray[np.int16], width: int, quality: int, repeats: int
) -> dict[str, object]:
    """Return its bytes and times for symbols (C, H, W), or nothing where it is not installed.

    It gets the channels' own tables; what our coder escapes it codes as the escape alone, without the value.
    """
    if constriction is None:
        return {}
    channels = _channels(model, symbols, width, quality)
    payload = _encode(channels)
    return {
        "constriction_bytes": payload.nbytes,
        "constriction_encode_ms_p50": milliseconds_p50(lambda: _encode(channels), repeats),
        "constriction_decode_ms_p50": milliseconds_p50(lambda: _decode(payload, channels), repeats),
    }


def _channels(model: EntropyModel, symbols: NDArray[np.int16], width: int, quality: int) -> Channels:
    """Return each channel's places in its table and its model, which is built once, as our tables are."""
    channels: Channels = []
    for channel, table in zip(symbols, model.table_index[width - 1, quality, :, ALONE], strict=False):
        cdf = model.quantized_cdf[model.cdf_start[table] : model.cdf_start[table + 1]].astype(np.int64)
        escape = cdf.size - 2
        entry = channel.ravel().astype(np.int32) - model.offset[table]
        entry[(entry < 0) | (entry >= escape)] = escape
        distribution = constriction.stream.model.Categorical(np.diff(cdf) / TOTAL, perfect=False)
        channels.append((entry, distribution))
    return channels


def _encode(channels: Channels) -> NDArray[np.uint32]:
    coder = constriction.stream.stack.AnsCoder()
    for entry, distribution in reversed(channels):
        coder.encode_reverse(entry, distribution)
    payload: NDArray[np.uint32] = coder.get_compressed()
    return payload


def _decode(payload: NDArray[np.uint32], channels: Channels) -> None:
    coder = constriction.stream.stack.AnsCoder(payload)
    for entry, distribution in channels:
        coder.decode(distribution, entry.size)
