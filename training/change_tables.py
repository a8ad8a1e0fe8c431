"""The integer tables of changes against a reference, fitted on clips as they will be coded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from splitnet.codec.change_coder import in_context
from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.references import Reference, changed_positions
from splitnet.nn.split_detector import DeviceHalf

CHANGE_RADIUS = 31  # changes beyond are escapes anyway
LAGS = (1, 2)  # frames between one and its reference: as many as may be in flight
_BINS = 2 * CHANGE_RADIUS + 1

Clip = Sequence[Tensor]  # the latents (C, h, w) of consecutive frames


class ChangeCounts:
    """What is counted over clips: flags and changes in their contexts, at every quality."""

    def __init__(self, device: DeviceHalf, centres: NDArray[np.int16], hysteresis: float) -> None:
        """Take a device half, the likeliest symbols (widths, qualities, C), and the hysteresis it will code with."""
        self._device, self._centres, self._hysteresis = device, centres, hysteresis
        contexts = FLAG_CONTEXTS + centres.shape[2] * CHANGE_CONTEXTS
        self._counts = np.zeros((device.qualities, contexts, _BINS), np.int64)

    def add(self, clip: Clip, width: int) -> None:
        """Count a clip at a width, at all qualities."""
        for quality in range(self._device.qualities):
            for lag in LAGS:
                for values, contexts in self._coded(clip[::lag], width, quality):
                    kept = np.abs(values.astype(np.int64)) <= CHANGE_RADIUS
                    places = contexts[kept].astype(np.int64) * _BINS + values[kept] + CHANGE_RADIUS
                    flat = np.bincount(places, minlength=self._counts[quality].size)
                    self._counts[quality] += flat.reshape(self._counts[quality].shape)

    def fit(self) -> ChangeModel:
        """Return the tables of what was counted."""
        flags = self._counts[:, :FLAG_CONTEXTS, CHANGE_RADIUS : CHANGE_RADIUS + 2]
        changes = self._counts[:, FLAG_CONTEXTS:].reshape(len(self._counts), -1, CHANGE_CONTEXTS, _BINS)
        return ChangeModel.fit(flags, changes)

    def _coded(self, clip: Clip, width: int, quality: int) -> Iterable[tuple[NDArray[np.int16], NDArray[np.uint16]]]:
        """Yield what coding each frame against the one before comes to."""
        centre = self._centres[width - 1, quality]
        last: Reference | None = None
        for latent in clip:
            if last is None:
                symbols = self._device.quantise(latent, width, quality)
                changed = np.zeros(symbols.shape[1:], np.uint8)
            else:
                symbols = self._device.quantise_near(latent, width, quality, last.symbols, self._hysteresis)
                changed = changed_positions(symbols, last)
                yield in_context(symbols, last, centre)
            last = Reference(0, width, quality, symbols, changed)
