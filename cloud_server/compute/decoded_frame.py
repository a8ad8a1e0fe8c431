"""A frame as it is computed: decoded, and with its place in the detector's square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from splitnet.letterbox import Letterbox
from splitnet.operating_point import OperatingPoint


@dataclass(frozen=True)
class DecodedFrame:
    """What a payload held, and where the image lies in the detector's square."""

    data: NDArray[Any]  # split: symbols (C, h, w) int16; image: canvas (H, W, 3) uint8
    point: OperatingPoint
    letterbox: Letterbox
