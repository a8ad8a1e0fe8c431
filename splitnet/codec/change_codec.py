"""Frames as changes against a reference, to a bitstream and back."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.bitstream import Limits
from splitnet.codec.change_coder import ChangeTables, decode_changes, encode_changes, warm_up
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.changes_header import HEADER_BYTES, ChangesHeader, pack, unpack
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.references import ID_MASK, RATIO_BITS, Reference, ReferenceStore, changed_positions, fitted
from splitnet.errors import BitstreamError, BundleError, MissingReferenceError
from splitnet.operating_point import Codec


@dataclass(frozen=True, eq=False)
class DecodedLatent:
    """What a bitstream held."""

    codec: Codec
    width: int
    quality: int
    symbols: NDArray[np.int16]  # (C, H, W)
    changed: NDArray[np.uint8]  # (H, W): 1 where it differs from its reference; 0 everywhere if it has none
    builds_on: int | None = None  # the frame whose changes it is
    is_complete: bool = True  # else some of its layers are missing: nothing may build on it

    def as_reference(self, frame_id: int) -> Reference:
        """Return what later frames may build on."""
        return Reference(frame_id, self.width, self.quality, self.symbols, self.changed)


class ChangeCodec:
    """Codes latents of one bundle against references. Holds no state between calls: any thread may use it."""

    def __init__(self, model: ChangeModel, base: EntropyModel, gains: NDArray[np.float32], digest: bytes) -> None:
        """Take the tables of changes, those of whole frames, gains (widths, qualities, C), and the bundle's 8 bytes.

        BundleError if they do not fit one another.
        """
        if (model.qualities, model.channels) != (base.qualities, base.channels) or gains.shape != base.likeliest.shape:
            raise BundleError("the change tables are for other qualities or channels: the bundle is damaged")
        self._tables = ChangeTables.build(model)
        self._centres = base.likeliest
        self._digest = digest
        self._gains = gains.astype(np.float64)

    def compress(
        self,
        symbols: NDArray[np.int16],
        width: int,
        quality: int,
        reference: Reference,
        shift: tuple[int, int] = (0, 0),
        base: Reference | None = None,
    ) -> bytes:
        """Return symbols (C, H, W) as a bitstream of changes against a reference of the same width and shape.

        shift: positions down and right that the reference is moved by, -128..127 each. base: what `fitted` says of
        the same three, where the caller has asked already.
        """
        payload = encode_changes(
            symbols,
            self.fitted(reference, quality, shift) if base is None else base,
            self._centre(width, quality, len(symbols)),
            quality,
            self._tables,
        )
        low_bits = reference.frame_id & ID_MASK
        header = ChangesHeader(width, quality, low_bits, self._check(reference), shift)
        return pack(header) + payload

    def decompress(self, bitstream: bytes, limits: Limits, references: ReferenceStore | None) -> DecodedLatent:
        """Return the latent of a bitstream of changes.

        MissingReferenceError if the reference is not there; BitstreamError for anything but whole changes.
        """
        header = unpack(bitstream, limits)
        found = self._found(header, references)
        if found.width != header.width:
            raise BitstreamError(f"the frame is of width {header.width}, its reference is not: send it whole")
        base = self.fitted(found, header.quality, header.shift)
        centre = self._centre(header.width, header.quality, len(base.symbols))
        symbols = decode_changes(bitstream[HEADER_BYTES:], base, centre, header.quality, self._tables)
        changed = changed_positions(symbols, base)
        return DecodedLatent(Codec.RANS, header.width, header.quality, symbols, changed, found.frame_id)

    def _found(self, header: ChangesHeader, references: ReferenceStore | None) -> Reference:
        candidates = [] if references is None else references.named(header.reference_frame_id)
        for one in candidates:
            if self._check(one) == header.reference_check:
                return one
        raise MissingReferenceError(header.reference_frame_id)

    def _check(self, reference: Reference) -> int:
        """Return a checksum of a reference and the bundle that its symbols belong to."""
        return zlib.crc32(self._digest, reference.check)

    def fitted(self, reference: Reference, quality: int, shift: tuple[int, int] = (0, 0)) -> Reference:
        """Return a reference as a frame of that quality, moved by that many positions, would have been coded."""
        return fitted(reference, self._ratio(reference, quality), shift)

    def warm_up(self) -> None:
        """Compile the loops, or load them from numba's cache."""
        warm_up(self._tables)

    def _ratio(self, reference: Reference, quality: int) -> NDArray[np.int64]:
        """Return the gains of a quality over those of a reference's as fixed-point numbers.

        Single IEEE divisions and products of stored numbers, rounded once: the same on every machine.
        """
        gains = self._gains[reference.width - 1, :, : len(reference.symbols)]
        own = gains[reference.quality]
        ratio = np.divide(gains[quality], own, out=np.zeros_like(own), where=own > 0)
        return np.asarray(np.rint(np.minimum(ratio, 1 << 15) * (1 << RATIO_BITS)), np.int64)

    def _centre(self, width: int, quality: int, channels: int) -> NDArray[np.int16]:
        return self._centres[width - 1, quality, :channels]
