"""Symbols of a latent to a bitstream and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitnet.codec import bitstream as wire
from splitnet.codec import rans
from splitnet.codec.bitstream import CHANNEL_ALONE, DIGEST_BYTES, HEADER_BYTES, NEIGHBOURS, Header, Limits
from splitnet.codec.byte_cap import MAX_HALVINGS, byte_caps, halved
from splitnet.codec.change_codec import ChangeCodec, DecodedLatent
from splitnet.codec.changes_header import is_changes
from splitnet.codec.compiler import COMPILES
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.layers import LayeredCodec, is_layered
from splitnet.codec.references import ReferenceStore
from splitnet.codec.zstd_symbols import compress_zstd, decompress_zstd
from splitnet.errors import BitstreamError, ConfigError
from splitnet.operating_point import Codec


class CappedBitstream(NamedTuple):
    """A bitstream within its cap, the quality that it has come down to, and the symbols (C, H, W) that it holds."""

    payload: bytes
    quality: int
    symbols: NDArray[np.int16]


class FeatureCodec:
    """Code latents of one bundle. Holds no state between calls: any number of threads may share it."""

    def __init__(
        self,
        model: EntropyModel,
        digest: bytes,
        max_latent_size: tuple[int, int, int],
        positions: Sequence[int] | None = None,
        changes: ChangeCodec | None = None,
        gains: NDArray[np.float32] | None = None,
    ) -> None:
        """Take the tables, the 8 bytes that name the bundle, and the largest latent (C, H, W) it makes.

        positions: H * W of the largest latent of each width, if not the same for all. changes: codes frames against
        references, if the bundle can. gains: (widths, qualities, channels), to code frames in layers.
        """
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"the digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        if max_latent_size[0] > model.channels:
            raise ConfigError(f"the tables are for {model.channels} channels, not {max_latent_size[0]}")
        self.model = model
        self.digest = digest
        context_model = NEIGHBOURS if model.contexts > 1 else CHANNEL_ALONE
        self.changes = changes
        self.limits = Limits(digest, model.widths, model.qualities, *max_latent_size, context_model)
        self._tables = rans.Tables.build(model)
        self.layered = None
        if gains is not None and COMPILES:  # plain Python takes seconds for a layer
            self.layered = LayeredCodec(model, gains, self.limits, self._tables)
        largest = max_latent_size[1] * max_latent_size[2]
        self._caps = byte_caps(model, positions or [largest] * model.widths)

    def compress(self, symbols: NDArray[np.int16], width: int, quality: int, codec: Codec = Codec.RANS) -> bytes:
        """Return symbols (C, H, W) int16 as a bitstream.

        Raise ConfigError if the bundle has no such width, quality or shape.
        """
        bounds = (self.limits.channels, self.limits.latent_height, self.limits.latent_width)
        if not all(1 <= size <= bound for size, bound in zip(symbols.shape, bounds, strict=True)):
            raise ConfigError(f"a latent of shape {symbols.shape} is outside of this bundle's 1..{bounds}")
        choice = self.model.choice(width, quality, len(symbols))
        if codec is Codec.RANS:
            payload = rans.encode(symbols, choice, self._tables)
        elif codec is Codec.ZSTD:
            payload = compress_zstd(symbols)
        else:
            raise ConfigError(f"{codec.value} codes no features: choose rans or zstd")
        channels, height, columns = symbols.shape
        context_model = self.limits.context_model
        header = Header(codec, self.digest, width, quality, channels, height, columns, len(payload), context_model)
        return wire.pack(header) + payload

    def byte_cap(self, width: int, quality: int) -> int:
        """Return the most bytes that `compress_capped` makes at an operating point, header included."""
        return int(self._caps[width - 1, quality])

    def compress_capped(
        self,
        symbols: NDArray[np.int16],
        width: int,
        quality: int,
        coarser: Callable[[int], NDArray[np.int16]],
        codec: Codec = Codec.RANS,
    ) -> CappedBitstream:
        """Return a bitstream of no more than `byte_cap(width, quality)` bytes.

        coarser: returns the same latent's symbols (C, H, W) at a lower quality. What is too large even at the lowest
        one (noise, test patterns) is drawn towards the tables' likeliest symbols until it fits. Raise as `compress`.
        """
        payload, cap = self.compress(symbols, width, quality, codec), self.byte_cap(width, quality)
        while len(payload) > cap and quality > 0:
            quality -= 1
            symbols = coarser(quality)
            payload = self.compress(symbols, width, quality, codec)
        times = 0
        while len(payload) > cap and times < MAX_HALVINGS:
            times += 1
            nearer = halved(symbols, self.model.likeliest[width - 1, quality, : len(symbols)], times)
            payload = self.compress(nearer, width, quality, codec)
        return CappedBitstream(payload, quality, nearer if times else symbols)

    def decompress(self, bitstream: bytes) -> tuple[Header, NDArray[np.int16]]:
        """Return the header and the symbols (C, H, W) int16 of a bitstream that stands alone.

        Raise BitstreamError for anything but a whole bitstream of this bundle.
        """
        header = wire.unpack(bitstream, self.limits)
        return header, self._symbols(header, bitstream[HEADER_BYTES:])

    def decode(self, bitstream: bytes, references: ReferenceStore | None = None) -> DecodedLatent:
        """Return what a bitstream holds. references: the frames of its session that it may build on.

        Raise MissingReferenceError if it builds on another, BitstreamError if it is no whole bitstream of this bundle.
        """
        if is_changes(bitstream):
            if self.changes is None:
                raise BitstreamError("the bundle has no tables for changes against a reference: send whole frames")
            return self.changes.decompress(bitstream, self.limits, references)
        if is_layered(bitstream):
            return self._joined(bitstream)
        header, symbols = self.decompress(bitstream)
        unchanged = np.zeros(header.shape[1:], np.uint8)
        return DecodedLatent(header.codec, header.width, header.quality, symbols, unchanged)

    def _joined(self, bitstream: bytes) -> DecodedLatent:
        """Return what the layers of a bitstream hold together."""
        if self.layered is None:
            raise BitstreamError("this end does not take frames in layers: send whole frames")
        width, quality, symbols, used, layers = self.layered.decompress(bitstream)
        unchanged = np.zeros(symbols.shape[1:], np.uint8)
        return DecodedLatent(Codec.RANS, width, quality, symbols, unchanged, is_complete=used == layers)

    def _symbols(self, header: Header, payload: bytes) -> NDArray[np.int16]:
        if header.codec is Codec.ZSTD:
            return decompress_zstd(payload, header.shape)
        channels, *size = header.shape
        choice = self.model.choice(header.width, header.quality, channels)
        return rans.decode(payload, choice, (size[0], size[1]), self._tables)

    def warm_up(self) -> None:
        """Make the first frame as fast as the others: compile the coder, or load it from numba's cache."""
        rans.warm_up(self._tables)
        if self.layered is not None:
            self.layered.warm_up()
        if self.changes is not None:
            self.changes.warm_up()
