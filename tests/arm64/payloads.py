"""Digests of payloads, to compare machines: a drawn canvas at every width, by every back end that is installed.

    python -m tests.arm64.payloads

The canvas of each width has that width's size, so that nothing is scaled: OpenCV scales with other rounding on ARM.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from edge_client.encoding.encoder import load_encoder
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

QUALITIES = (0, 5, 10)


def canvas(side: int) -> NDArray[np.uint8]:
    """Return a square (side, side, 3) uint8 of ramps and blocks: integers only, the same everywhere."""
    y, x = np.mgrid[:side, :side]
    planes = (x * 3 + y, (x // 16 * 53) ^ (y // 24 * 29), (x * y // 7) % 251)
    return np.stack([plane % 256 for plane in planes], axis=2).astype(np.uint8)


def lines() -> list[str]:
    """Return a line for each payload: back end, operating point, bytes, SHA-256."""
    backends = ["torch", *(["onnxruntime"] if find_spec("onnxruntime") else [])]
    found = []
    for backend in backends:
        encoder = load_encoder(DEFAULT_BUNDLE, "cpu", 1, backend)
        for width, side in enumerate(encoder.manifest.sides, start=1):
            for quality in QUALITIES:
                encoded = encoder.encode(canvas(side), OperatingPoint(Codec.RANS, width, quality))
                digest = hashlib.sha256(encoded.payload).hexdigest()[:16]
                found.append(f"{backend} {encoded.point} {len(encoded.payload)} {digest}")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))
