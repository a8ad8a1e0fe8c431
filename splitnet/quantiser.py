"""Gains and rounding of every operating point: from a latent to symbols. In NumPy: it is small work for any library."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError

MAX_SYMBOL = 2047  # symbols are clamped here; gains keep them two orders of magnitude below

Latent = NDArray[np.float32]  # (C, h, w)


class Quantiser:
    """The gains of a bundle."""

    def __init__(self, gains: NDArray[np.float32]) -> None:
        """Take gains (widths, qualities, channels)."""
        self.widths, self.qualities = int(gains.shape[0]), int(gains.shape[1])
        self.gains = gains[..., None, None]

    def quantise(self, latent: Latent, width: int, quality: int) -> NDArray[np.int16]:
        """Return the symbols (C, h, w) of a width's latent at a quality. ConfigError if the bundle has no such one."""
        self.check(width, quality)
        scaled = np.multiply(latent, self.gains[width - 1, quality])
        return _rounded(scaled)

    def quantise_near(
        self, latent: Latent, width: int, quality: int, reference: NDArray[np.int16], hysteresis: float
    ) -> NDArray[np.int16]:
        """Return the symbols (C, h, w) of a latent, but a reference's (C, h, w) where they are about as good.

        A reference's symbol stays while the latent is within half a step and `hysteresis` of one from it: so noise
        changes nothing, and errors do not add up. ConfigError if the bundle has no such width or quality.
        """
        self.check(width, quality)
        scaled = np.multiply(latent, self.gains[width - 1, quality])
        distance = np.subtract(scaled, reference.astype(np.float32))
        keeps = np.abs(distance, out=distance) <= 0.5 + hysteresis
        symbols = _rounded(scaled)
        np.copyto(symbols, reference, where=keeps)
        return symbols

    def check(self, width: int, quality: int) -> None:
        """Raise ConfigError if the bundle has no such width or quality."""
        if not (1 <= width <= self.widths and 0 <= quality < self.qualities):
            raise ConfigError(
                f"width {width}, quality {quality}: the bundle has widths 1..{self.widths} "
                f"and qualities 0..{self.qualities - 1}"
            )


def _rounded(scaled: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return the nearest symbols; the array that is given is written over."""
    np.rint(scaled, out=scaled)
    np.clip(scaled, -MAX_SYMBOL, MAX_SYMBOL, out=scaled)
    return cast("NDArray[np.int16]", scaled.astype(np.int16, order="C"))
