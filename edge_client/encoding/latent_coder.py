"""A latent becomes a bitstream: whole, or as changes against a frame that the server holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_client.encoding.pan_search import STILL, Shift, likely_shift
from splitnet.codec.byte_cap import CAP_FACTOR
from splitnet.codec.references import Reference, changed_positions
from splitnet.operating_point import Codec, OperatingPoint

if TYPE_CHECKING:
    from splitnet.bundle import DeviceBundle
    from splitnet.device_package import DevicePackage

HYSTERESIS = 0.25  # of a step: a symbol of the reference stays while the latent is so much beyond its half step
PANNING = 0.5  # of the positions have changed: perhaps because the camera turns
UNSEARCHED = 4  # frames after a search for a pan that was in vain
WORTHWHILE = 0.7  # of a whole frame's bytes: changes that take more are coded both ways, and the shorter one is sent


@dataclass(frozen=True)
class CodedLatent:
    """A bitstream, and what it leaves behind at the server."""

    point: OperatingPoint  # its quality may be below what was asked
    payload: bytes
    reference: Reference | None  # None: nothing can build on it
    builds_on: int | None  # the frame whose changes it is
    is_unchanged: bool = False  # it holds the same symbols at the same point as that frame
    layers: tuple[bytes, ...] = ()  # that the payload consists of

    @property
    def changed_share(self) -> float:
        """The share of the positions that differ from the frame that is built on; all of them if there is none."""
        return 1.0 if self.builds_on is None or self.reference is None else float(self.reference.changed.mean())


@dataclass(frozen=True, eq=False)
class _NearLatent:
    """Symbols that stay with those of a reference where they can."""

    shift: Shift
    fitted: Reference
    symbols: NDArray[np.int16]
    changed: NDArray[np.uint8]


def _changes_of(near: _NearLatent) -> int:
    return int(np.count_nonzero(near.symbols != near.fitted.symbols))


class LatentCoder:
    """Codes the latents of one bundle. One thread at a time."""

    def __init__(self, bundle: DeviceBundle | DevicePackage) -> None:
        self._encoder, self._codec = bundle.encoder, bundle.codec
        self._unsearched = 0  # frames that are not searched for a pan yet
        self._whole_bytes: dict[tuple[int, int], int] = {}  # of the last whole frame at each width and quality

    def code(
        self,
        latent: Any,
        point: OperatingPoint,
        frame_id: int = 0,
        base: Reference | None = None,
        layers: int = 1,
        shift: Shift | None = None,
    ) -> CodedLatent:
        """Return the shorter bitstream of a latent (C, h, w) at a split operating point of this bundle.

        base: a frame of the same width that the server holds. layers: that a frame is coded in which stands alone.
        shift: positions that the scene has moved by since the base, if somebody has found out.
        """
        if layers > 1 and base is None:
            in_layers = self._in_layers(latent, point, frame_id, layers)
            if in_layers is not None:
                return in_layers
        if base is None or self._codec.changes is None or point.codec is not Codec.RANS:
            return self._whole(latent, point, frame_id)
        if base.symbols.shape != tuple(latent.shape):
            return self._whole(latent, point, frame_id)
        changes = self._changes(latent, point, frame_id, base, shift)
        expected = self._whole_bytes.get((point.width, point.quality), self._expected(point))
        if len(changes.payload) <= WORTHWHILE * expected:
            return changes
        return min(changes, self._whole(latent, point, frame_id), key=lambda coded: len(coded.payload))

    def _expected(self, point: OperatingPoint) -> float:
        return self._codec.byte_cap(point.width, point.quality) / CAP_FACTOR

    def _whole(self, latent: Any, point: OperatingPoint, frame_id: int) -> CodedLatent:
        width = point.width
        capped = self._codec.compress_capped(
            self._encoder.quantise(latent, width, point.quality),
            width,
            point.quality,
            lambda coarser: self._encoder.quantise(latent, width, coarser),
            point.codec,
        )
        self._whole_bytes[width, capped.quality] = len(capped.payload)
        unchanged = np.zeros(capped.symbols.shape[1:], np.uint8)
        reference = self._reference(frame_id, width, capped.quality, capped.symbols, unchanged)
        return CodedLatent(replace(point, quality=capped.quality), capped.payload, reference, None)

    def _in_layers(self, latent: Any, point: OperatingPoint, frame_id: int, layers: int) -> CodedLatent | None:
        """Return a frame in layers; None if it cannot be, or would burst its cap."""
        layered = self._codec.layered
        if layered is None or point.codec is not Codec.RANS:
            return None
        width, quality = point.width, point.quality
        symbols = self._encoder.quantise(latent, width, quality)
        made = layered.compress(symbols, width, quality, layers)
        payload = b"".join(made)
        if len(made) < 2 or len(payload) > self._codec.byte_cap(width, quality):
            return None
        unchanged = np.zeros(symbols.shape[1:], np.uint8)
        reference = self._reference(frame_id, width, quality, symbols, unchanged)
        return CodedLatent(point, payload, reference, None, layers=made)

    def _changes(
        self, latent: Any, point: OperatingPoint, frame_id: int, base: Reference, shift: Shift | None
    ) -> CodedLatent:
        changes = self._codec.changes
        assert changes is not None
        width, quality = point.width, point.quality
        near = self._near(latent, point, base, STILL)
        if shift is None:
            near = self._moved(latent, point, base, near)
        elif shift != STILL:
            near = min(near, self._near(latent, point, base, shift), key=_changes_of)
        payload = changes.compress(near.symbols, width, quality, base, near.shift, near.fitted)
        reference = self._reference(frame_id, width, quality, near.symbols, near.changed)
        is_unchanged = base.quality == quality and near.shift == STILL and not near.changed.any()
        return CodedLatent(point, payload, reference, base.frame_id, is_unchanged)

    def _moved(self, latent: Any, point: OperatingPoint, base: Reference, still: _NearLatent) -> _NearLatent:
        """Return a latent near its reference where that has moved with the camera, if it has; else as it was."""
        if still.changed.mean() <= PANNING:
            return still
        self._unsearched -= 1
        if self._unsearched >= 0:
            return still
        shift = likely_shift(self._encoder.quantise(latent, point.width, point.quality), still.fitted.symbols)
        near = still if shift == STILL else min(still, self._near(latent, point, base, shift), key=_changes_of)
        self._unsearched = UNSEARCHED if near is still else 0
        return near

    def _near(self, latent: Any, point: OperatingPoint, base: Reference, shift: Shift) -> _NearLatent:
        assert self._codec.changes is not None
        fitted = self._codec.changes.fitted(base, point.quality, shift)
        symbols = self._encoder.quantise_near(latent, point.width, point.quality, fitted.symbols, HYSTERESIS)
        return _NearLatent(shift, fitted, symbols, changed_positions(symbols, fitted))

    def _reference(
        self, frame_id: int, width: int, quality: int, symbols: NDArray[np.int16], changed: NDArray[np.uint8]
    ) -> Reference | None:
        return None if self._codec.changes is None else Reference(frame_id, width, quality, symbols, changed)
