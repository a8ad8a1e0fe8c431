"""Frames that later ones may be coded against: what they hold, how they are kept, and how they are made to fit.

A frame may be a reference once both ends have it. Each end keeps a few. A bitstream names its reference by the low bits
of the frame's id and by a checksum of what the reference holds. So a wrong decode is impossible: either both ends hold
the same, or the frame is refused.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.h264 import H264Decoder

ID_MASK = 0xFFFF  # what a header has room for; 0 means no reference
MAX_REFERENCES = 4  # of one session, at either end: two frames in flight, the one they build on, and one to spare
RATIO_BITS = 16  # of the fixed-point factor between two qualities


@dataclass(frozen=True, eq=False)
class Reference:
    """What a frame leaves behind for later ones."""

    frame_id: int
    width: int
    quality: int
    symbols: NDArray[np.int16]  # (C, H, W)
    changed: NDArray[np.uint8]  # (H, W): 1 where it differed from its own reference, or everywhere 0

    @cached_property
    def check(self) -> int:
        """A checksum (CRC-32, ISO 3309) of everything that decoding depends on."""
        head = bytes((self.width, self.quality)) + repr(self.symbols.shape).encode()
        symbols = np.ascontiguousarray(self.symbols, "<i2")
        return zlib.crc32(self.changed.tobytes(), zlib.crc32(symbols.tobytes(), zlib.crc32(head)))

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.symbols.nbytes + self.changed.nbytes


def fitted(reference: Reference, ratio: NDArray[np.int64], shift: tuple[int, int]) -> Reference:
    """Return a reference as another quality would have coded it, moved by whole positions (down, right).

    ratio: (C,) gains of the wanted quality over the reference's own, with RATIO_BITS bits behind the point. What moves
    in from outside repeats the border.
    """
    symbols, changed = reference.symbols, reference.changed
    if (ratio != 1 << RATIO_BITS).any():
        scaled = symbols.astype(np.int64) * ratio[:, None, None] + (1 << RATIO_BITS - 1) >> RATIO_BITS
        symbols = np.clip(scaled, np.iinfo(np.int16).min, np.iinfo(np.int16).max).astype(np.int16)
    if any(shift):
        rows, columns = (np.clip(np.arange(n) - s, 0, n - 1) for n, s in zip(changed.shape, shift, strict=True))
        symbols, changed = symbols[:, rows[:, None], columns], changed[rows[:, None], columns]
    return Reference(reference.frame_id, reference.width, reference.quality, symbols, changed)


def changed_positions(symbols: NDArray[np.int16], reference: Reference) -> NDArray[np.uint8]:
    """Return 1 where any of the symbols (C, H, W) differs from the reference's, else 0, as (H, W)."""
    return np.asarray((symbols != reference.symbols).any(axis=0), np.uint8)


class ReferenceStore:
    """What later frames of one session may build on: the newest few latents, and its video. Any thread may use it."""

    def __init__(self, limit: int = MAX_REFERENCES) -> None:
        self.video = H264Decoder()
        self._limit = limit
        self._kept: OrderedDict[int, Reference] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, reference: Reference) -> None:
        """Keep a frame, and forget the one with the lowest id if there are too many."""
        with self._lock:
            self._kept[reference.frame_id] = reference
            if len(self._kept) > self._limit:
                del self._kept[min(self._kept)]

    def named(self, low_bits: int) -> list[Reference]:
        """Return the frames whose ids have these low bits: one, or none."""
        with self._lock:
            return [one for one in self._kept.values() if one.frame_id & ID_MASK == low_bits]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self.video = H264Decoder()

    @property
    def nbytes(self) -> int:
        """What all of them take in memory."""
        with self._lock:
            return self.video.nbytes + sum(one.nbytes for one in self._kept.values())
