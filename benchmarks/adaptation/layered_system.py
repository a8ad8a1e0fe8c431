"""A split operating point in layers, of which only the first few arrive: what they take, and what they give."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edge_client.adaptation.layered_rows import LAYERS
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from training.evaluation.systems import SplitSystem


@dataclass(frozen=True)
class LayeredSystem(SplitSystem):
    """The first layers of a split operating point."""

    used: int = 1
    layer_bytes: list[tuple[int, ...]] = field(default_factory=list)  # of every image that was compressed

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox, encode, write the layers that arrive. Raises ConfigError if the bundle cannot."""
        point, layered = self.point, self.device.codec.layered
        if layered is None:
            raise ConfigError("this bundle codes no frames in layers")
        symbols = self.device.encoder.encode(box.apply(frame), point.width, point.quality)
        layers = layered.compress(symbols, point.width, point.quality, LAYERS)
        sizes = [len(layer) for layer in layers]
        self.layer_bytes.append((*sizes, *[0] * (LAYERS - len(sizes))))
        return b"".join(layers[: self.used])

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Read the layers and go on behind the split point."""
        latent, half = self.server.codec.decode(payload), self.server.half
        raw: Tensor = half(half.dequantise(latent.symbols, latent.width, latent.quality)[None])
        return raw
