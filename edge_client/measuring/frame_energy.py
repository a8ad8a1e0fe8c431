"""The energy that a frame costs at each operating point, over what the board takes when it rests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.local_detector import LocalRuntime
from edge_client.frames import Image
from edge_client.measuring.energy import EnergyMeter, Meter
from splitnet.operating_point import LOCAL, OperatingPoint

REST_S = 2.0
POINT_S = 1.5  # at each point
UNKNOWN = "energy: not known, this board measures no power that can be read here (RAPL needs root)"


@dataclass(frozen=True)
class PointEnergy:
    """What a frame costs at one operating point."""

    point: OperatingPoint
    millijoules: float  # over the power at rest
    watts: float  # of the whole while frames follow one another

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "point": str(self.point)}


@dataclass(frozen=True)
class EnergyProfile:
    """What was measured, and by what."""

    meter: str
    rest_watts: float
    points: Sequence[PointEnergy]

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        points = [one.to_json() for one in self.points]
        return {"meter": self.meter, "rest_watts": round(self.rest_watts, 3), "points": points}

    def to_text(self) -> str:
        """Return lines for people."""
        each = ", ".join(f"{one.point} {one.millijoules:.0f} mJ" for one in self.points)
        return f"energy of a frame by {self.meter}, over {self.rest_watts:.2f} W at rest: {each}"


def measure_energy(
    meter: Meter,
    encoder: EncoderRuntime,
    local: LocalRuntime | None,
    images: Sequence[Image],
    points: Sequence[OperatingPoint],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> EnergyProfile | None:
    """Measure each point for a while; None if the meter fails."""
    energy = EnergyMeter(meter, clock)
    energy.start()
    sleep(REST_S)
    rest = energy.stop()
    if rest is None:
        return None
    rest_watts, found = rest.joules / rest.seconds, []
    for point in points:
        energy, frames, sources, begun = EnergyMeter(meter, clock), 0, cycle(images), clock()
        energy.start()
        while clock() - begun < POINT_S:
            if point == LOCAL and local is not None:
                local.detect(next(sources))
            else:
                encoder.encode(next(sources), point)
            frames += 1
        spent = energy.stop()
        if spent is None:
            return None
        above = max(0.0, spent.joules - rest_watts * spent.seconds)
        found.append(PointEnergy(point, round(1000 * above / frames, 2), round(spent.joules / spent.seconds, 3)))
    return EnergyProfile(meter.name, rest_watts, found)
