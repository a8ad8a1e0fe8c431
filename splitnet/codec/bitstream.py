"""The header before a payload: what a decoder must know, and what it must check before it allocates."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from splitnet.errors import BitstreamError
from splitnet.operating_point import Codec

MAGIC = b"SL"
VERSION = 1
NO_REFERENCE = 0
DIGEST_BYTES = 8
_CODEC_IDS = {Codec.RANS: 1, Codec.ZSTD: 2}
_CODECS = {number: codec for codec, number in _CODEC_IDS.items()}
# Context models: what the table of a symbol depends on. The last is of frames that are coded as changes.
CHANNEL_ALONE, NEIGHBOURS, CHANGES = 0, 1, 2  # see splitnet.codec.contexts and change_contexts
# Little-endian: magic, version, codec, digest, width, quality, context model, reference frame,
# channels, latent height, latent width, payload bytes.
_LAYOUT = struct.Struct("<2sBB8sBBBHHHHI")
HEADER_BYTES = _LAYOUT.size
# Follows the header of changes: the checksum of the reference, its shift down and right.
_CHANGES_LAYOUT = struct.Struct("<Ibb")
CHANGES_BYTES = _CHANGES_LAYOUT.size


@dataclass(frozen=True)
class Header:
    """What a bitstream says about its payload."""

    codec: Codec  # RANS or ZSTD
    digest: bytes  # 8 bytes: the bundle whose tables it was made with
    width: int  # how much the device computes, in the steps of its bundle, from 1
    quality: int  # index of the gains, from 0
    channels: int
    latent_height: int
    latent_width: int
    payload_bytes: int
    context_model: int = CHANNEL_ALONE
    reference_frame_id: int = NO_REFERENCE  # low 16 bits of the frame it builds on, 0 if on none
    reference_check: int = 0  # of what that frame holds, see `references`
    shift: tuple[int, int] = (0, 0)  # positions that the reference is moved by, down and right

    @property
    def begin(self) -> int:
        """Where the coded symbols begin in the bitstream."""
        return HEADER_BYTES + (CHANGES_BYTES if self.context_model == CHANGES else 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the latent."""
        return self.channels, self.latent_height, self.latent_width


@dataclass(frozen=True)
class Limits:
    """What a bundle can decode: the bounds of every field."""

    digest: bytes
    widths: int
    qualities: int
    channels: int
    latent_height: int
    latent_width: int
    context_model: int = CHANNEL_ALONE  # of frames that stand alone
    changes: bool = False  # whether frames may be coded as changes, too


def pack(header: Header) -> bytes:
    """Return the header as bytes, `header.begin` of them."""
    packed = _LAYOUT.pack(
        MAGIC,
        VERSION,
        _CODEC_IDS[header.codec],
        header.digest,
        header.width,
        header.quality,
        header.context_model,
        header.reference_frame_id,
        *header.shape,
        header.payload_bytes,
    )
    if header.context_model == CHANGES:
        packed += _CHANGES_LAYOUT.pack(header.reference_check, *header.shift)
    return packed


def unpack(bitstream: bytes, limits: Limits) -> Header:
    """Read the header of a bitstream; raise BitstreamError unless the bundle can decode what it announces."""
    if len(bitstream) < HEADER_BYTES:
        raise BitstreamError(f"a bitstream has at least {HEADER_BYTES} bytes, not {len(bitstream)}")
    (
        magic,
        version,
        codec,
        digest,
        width,
        quality,
        context_model,
        reference,
        channels,
        height,
        columns,
        size,
    ) = _LAYOUT.unpack_from(bitstream)
    if magic != MAGIC:
        raise BitstreamError("these bytes are not a bitstream: the magic is missing")
    if version != VERSION:
        raise BitstreamError(f"bitstream version {version} is unknown (this is {VERSION}): update the older end")
    if codec not in _CODECS:
        raise BitstreamError(f"codec number {codec} is unknown")
    header = Header(_CODECS[codec], digest, width, quality, channels, height, columns, size, context_model, reference)
    _check_bundle(header, limits)
    _check_shape(header, limits)
    following = len(bitstream) - header.begin
    if size != following:
        raise BitstreamError(f"the header announces {size} payload bytes, but {max(following, 0)} follow")
    if header.context_model != CHANGES:
        return header
    check, down, right = _CHANGES_LAYOUT.unpack_from(bitstream, HEADER_BYTES)
    return replace(header, reference_check=check, shift=(down, right))


def _check_bundle(header: Header, limits: Limits) -> None:
    if header.digest != limits.digest:
        raise BitstreamError(
            f"the bitstream was made with bundle {header.digest.hex()}, "
            f"this end holds {limits.digest.hex()}: give both ends the same bundle"
        )
    if not (1 <= header.width <= limits.widths and header.quality < limits.qualities):
        raise BitstreamError(f"the bundle has no width {header.width}, quality {header.quality}")
    if header.context_model not in (CHANNEL_ALONE, NEIGHBOURS, CHANGES):
        raise BitstreamError(f"context model {header.context_model} is unknown: update the older end")
    if header.context_model == CHANGES and not (limits.changes and header.codec is Codec.RANS):
        raise BitstreamError("the bundle has no tables for changes against a reference: send whole frames")
    if header.context_model not in (limits.context_model, CHANGES):
        raise BitstreamError(f"the bundle has context model {limits.context_model}, not {header.context_model}")
    if (header.reference_frame_id != NO_REFERENCE) != (header.context_model == CHANGES):
        builds = "builds on a frame" if header.context_model == CHANGES else "builds on no frame"
        says = "names none" if header.context_model == CHANGES else "names one"
        raise BitstreamError(f"context model {header.context_model} {builds}, but the bitstream {says}")


def _check_shape(header: Header, limits: Limits) -> None:
    bounds = (limits.channels, limits.latent_height, limits.latent_width)
    if not all(1 <= size <= bound for size, bound in zip(header.shape, bounds, strict=True)):
        raise BitstreamError(f"a latent of shape {header.shape} is outside of this bundle's 1..{bounds}")
