"""One operating point of a bundle as it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from splitnet.json_values import integer, number
from splitnet.operating_point import Codec, Mode, OperatingPoint


@dataclass(frozen=True)
class MeasuredPoint:
    """One operating point as measured by `python -m training evaluate`, through the real bitstream."""

    mode: Mode
    codec: Codec
    width: int
    quality: int
    ap: float  # percent, COCO's 0.50:0.95
    ap50: float  # percent
    bytes_mean: float
    bytes_p90: float
    encode_ms_p50: float  # letterbox to bitstream on one thread of the machine that measured
    mmacs: float  # millions of multiply-accumulates on the device, a 4:3 frame

    @property
    def point(self) -> OperatingPoint:
        """The operating point that was measured."""
        return OperatingPoint(self.codec, self.width, self.quality)

    @classmethod
    def from_json(cls, values: Any) -> MeasuredPoint:
        """Return a point as JSON states it. KeyError, TypeError or ValueError on what is none."""
        mode, codec = Mode(values["mode"]), Codec(values["codec"])
        width, quality = integer(values["width"]), integer(values["quality"])
        choice = ("mode", "codec", "width", "quality")
        figures = {name: number(value) for name, value in values.items() if name not in choice}
        return cls(mode, codec, width, quality, **figures)
