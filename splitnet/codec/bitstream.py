"""The header before a payload: what a decoder must know, and what it must check before it allocates."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from splitnet.errors import BitstreamError
from splitnet.operating_point import Codec

MAGIC = b"SL"
VERSION = 1
NO_REFERENCE = 0
MAX_LAYERS = 8  # that a frame may be sent in
DIGEST_BYTES = 8
_CODEC_IDS = {Codec.RANS: 1, Codec.ZSTD: 2}
_CODECS = {number: codec for codec, number in _CODEC_IDS.items()}
CHANNEL_ALONE, NEIGHBOURS = 0, 1  # context models: what the table of a symbol depends on, see splitnet.codec.contexts
# Little-endian: magic, version, codec, digest, width, quality, context model, reference frame,
# channels, latent height, latent width, payload bytes.
_LAYOUT = struct.Struct("<2sBB8sBBBHHHHI")
HEADER_BYTES = _LAYOUT.size


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
    context_model: int = CHANNEL_ALONE


def pack(header: Header) -> bytes:
    """Return the header as HEADER_BYTES bytes."""
    return _LAYOUT.pack(
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
    following = len(bitstream) - HEADER_BYTES
    if size != following:
        raise BitstreamError(f"the header announces {size} payload bytes, but {following} follow")
    return header


def _check_bundle(header: Header, limits: Limits) -> None:
    if header.digest != limits.digest:
        raise BitstreamError(
            f"the bitstream was made with bundle {header.digest.hex()}, "
            f"this end holds {limits.digest.hex()}: give both ends the same bundle"
        )
    if not (1 <= header.width <= limits.widths and header.quality < limits.qualities):
        raise BitstreamError(f"the bundle has no width {header.width}, quality {header.quality}")
    if header.context_model not in (CHANNEL_ALONE, NEIGHBOURS):
        raise BitstreamError(f"context model {header.context_model} is unknown: update the older end")
    if header.context_model != limits.context_model:
        raise BitstreamError(f"the bundle has context model {limits.context_model}, not {header.context_model}")
    if header.reference_frame_id != NO_REFERENCE:
        raise BitstreamError(f"context model {header.context_model} builds on no frame, but the bitstream names one")


def _check_shape(header: Header, limits: Limits) -> None:
    bounds = (limits.channels, limits.latent_height, limits.latent_width)
    if not all(1 <= size <= bound for size, bound in zip(header.shape, bounds, strict=True)):
        raise BitstreamError(f"a latent of shape {header.shape} is outside of this bundle's 1..{bounds}")
