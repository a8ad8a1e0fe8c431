"""The header before changes against a reference: as short as it can be, since a still scene needs little else.

Shape and bundle follow from the reference, whose checksum covers both; the bytes that follow are the message's rest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from splitnet.codec.bitstream import Limits
from splitnet.errors import BitstreamError

MAGIC = b"SC"
VERSION = 1
# Little-endian: magic, version, width, quality, reference frame, checksum of the reference, its shift down and right.
_LAYOUT = struct.Struct("<2sBBBHIbb")
HEADER_BYTES = _LAYOUT.size


@dataclass(frozen=True)
class ChangesHeader:
    """What a bitstream of changes says about its payload."""

    width: int  # how much the device computes, in the steps of its bundle, from 1
    quality: int  # index of the gains, from 0
    reference_frame_id: int  # low 16 bits of the frame that it builds on, never 0
    reference_check: int  # of what that frame holds, see `references`
    shift: tuple[int, int] = (0, 0)  # positions that the reference is moved by, down and right


def is_changes(bitstream: bytes) -> bool:
    """Return whether a bitstream is one of changes, by its first bytes."""
    return bitstream[: len(MAGIC)] == MAGIC


def pack(header: ChangesHeader) -> bytes:
    """Return the header as HEADER_BYTES bytes."""
    return _LAYOUT.pack(
        MAGIC,
        VERSION,
        header.width,
        header.quality,
        header.reference_frame_id,
        header.reference_check,
        *header.shift,
    )


def unpack(bitstream: bytes, limits: Limits) -> ChangesHeader:
    """Read the header of a bitstream of changes; raise BitstreamError unless the bundle can decode it."""
    if len(bitstream) < HEADER_BYTES:
        raise BitstreamError(f"a bitstream of changes has at least {HEADER_BYTES} bytes, not {len(bitstream)}")
    _, version, width, quality, reference, check, down, right = _LAYOUT.unpack_from(bitstream)
    if version != VERSION:
        raise BitstreamError(f"changes of version {version} are unknown (this is {VERSION}): update the older end")
    if not (1 <= width <= limits.widths and quality < limits.qualities):
        raise BitstreamError(f"the bundle has no width {width}, quality {quality}")
    if reference == 0:
        raise BitstreamError("a bitstream of changes names no frame that it builds on")
    return ChangesHeader(width, quality, reference, check, (down, right))
