"""Symbols as a Zstandard frame: the fall-back codec, which needs no tables."""

from __future__ import annotations

import numpy as np
import zstandard
from numpy.typing import NDArray

from splitnet.errors import BitstreamError

LEVEL = 3


def compress_zstd(symbols: NDArray[np.int16], level: int = LEVEL) -> bytes:
    """Return int16 symbols as a Zstandard frame (RFC 8878) with size and checksum.

    Zigzag mapping makes small values small bytes, and the high bytes, nearly all zero, lie together.
    """
    flat = symbols.ravel()
    zigzag = (flat << 1 ^ flat >> 15).astype("<u2")
    planes = zigzag.view(np.uint8).reshape(-1, 2).T
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(planes.tobytes())


def decompress_zstd(payload: bytes, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Undo compress_zstd for symbols (C, H, W); raise BitstreamError if they are not what the frame holds."""
    size = 2 * shape[0] * shape[1] * shape[2]
    try:
        # The library allocates what the frame claims, so the claim is read first.
        claimed = zstandard.get_frame_parameters(payload).content_size
        if claimed != size:
            raise BitstreamError(f"the payload holds {claimed} bytes, but shape {shape} needs {size}")
        raw = zstandard.ZstdDecompressor().decompress(payload, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BitstreamError(f"the payload is not a whole Zstandard frame: {error}") from None
    if len(raw) != size:
        raise BitstreamError(f"the payload holds {len(raw)} bytes, but shape {shape} needs {size}")
    planes = np.frombuffer(raw, np.uint8).reshape(2, -1)
    zigzag = np.ascontiguousarray(planes.T).view("<u2").ravel()
    symbols = (zigzag >> 1).astype(np.int16) ^ -(zigzag & 1).astype(np.int16)
    return symbols.reshape(shape)
