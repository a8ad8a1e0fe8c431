"""Who chooses the operating point. The pipeline asks once for every frame, just before encoding it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from splitnet.errors import ConfigError
from splitnet.operating_point import OperatingPoint


@dataclass(frozen=True)
class Circumstances:
    """What a policy may look at when it chooses. Times in seconds of the device's monotonic clock."""

    frame_id: int
    capture_time: float
    deadline_ms: float  # from capture, 0 for none
    in_flight: int  # frames under way, this one included


class Policy(Protocol):
    """Chooses one operating point for each frame. Called in the encoding thread: be quick."""

    def choose(self, now: float, circumstances: Circumstances) -> OperatingPoint:
        """Return the operating point for the frame that is encoded next."""
        ...


@dataclass(frozen=True)
class FixedPolicy:
    """Always the same operating point."""

    point: OperatingPoint

    def choose(self, now: float, circumstances: Circumstances) -> OperatingPoint:
        """Return the operating point."""
        return self.point


class SchedulePolicy:
    """Goes through a list of operating points, a number of frames on each, and starts over."""

    def __init__(self, points: Sequence[OperatingPoint], frames_each: int) -> None:
        if not points or frames_each < 1:
            raise ConfigError("a schedule needs at least one operating point and one frame on each")
        self._points = tuple(points)
        self._frames_each = frames_each
        self._chosen = 0

    def choose(self, now: float, circumstances: Circumstances) -> OperatingPoint:
        """Return the next operating point of the list."""
        point = self._points[self._chosen // self._frames_each % len(self._points)]
        self._chosen += 1
        return point
