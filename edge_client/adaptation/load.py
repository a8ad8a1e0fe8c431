"""The device's processor: what the system says of it, and how much slower than nominal it encodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from edge_client.percentiles import percentile

FRESH_S = 2.0  # a kind of work not done for so long shares the common factor
RISING = 0.5  # weight of a ratio above the factor: load has to be noticed within a few frames
FALLING = 0.15  # weight of one below
SPREAD_FRAMES = 32  # ratios that the p90 is taken of
MIN_RATIO, MAX_RATIO = 0.02, 200.0  # beyond these a measurement or a profile is nonsense
HOT_C = 80.0  # where single-board computers begin to throttle
SENSOR_ERRORS = (OSError, RuntimeError, AttributeError, NotImplementedError, ValueError, psutil.Error)


@dataclass(frozen=True)
class CpuSample:
    """What the system shows of its processor. None: this board does not."""

    busy: float  # 0..1 of all cores
    own: float  # 0..1 of all cores, by this process
    frequency_ratio: float | None = None  # of the highest
    temperature_c: float | None = None  # of the hottest sensor
    throttled: bool | None = None  # hot and slowed down

    @property
    def others(self) -> float:
        """The share of all cores that other processes take."""
        return min(1.0, max(0.0, self.busy - self.own))


class CpuSampler:
    """Reads the sensors by psutil. Shares are those since the call before."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cores = psutil.cpu_count() or 1
        self.sample()  # the first shares have nothing to be counted from

    def sample(self) -> CpuSample:
        """Return what can be read. Sensors that are missing or fail give None, shares 0."""
        frequency_ratio = _read(_frequency_ratio)
        temperature_c = _read(_temperature_c)
        slowed = None if frequency_ratio is None else frequency_ratio < 0.9
        return CpuSample(
            busy=_share(_read(lambda: psutil.cpu_percent() / 100)),
            own=_share(_read(lambda: self._process.cpu_percent() / 100 / self._cores)),
            frequency_ratio=frequency_ratio,
            temperature_c=temperature_c,
            throttled=None if slowed is None or temperature_c is None else slowed and temperature_c >= HOT_C,
        )


class LoadFactor:
    """How many times longer than nominal work takes now, for each kind of work. Pure.

    Kinds are whatever the caller tells apart (widths, picture codecs). One that was measured lately has its
    own factor; the others share the common one, as load slows them all. The system's CPU share, which moves
    before the next frame is measured, raises the factor at once.
    """

    def __init__(self) -> None:
        self._common = 1.0
        self._own: dict[str, tuple[float, float]] = {}  # kind: (time, factor)
        self._spread: deque[float] = deque(maxlen=SPREAD_FRAMES)  # ratios over the factor before them
        self._spread_p90 = 1.0
        self._others = 0.0  # share of other processes now ...
        self._others_measured = 0.0  # ... and when a ratio was last measured

    def measured(self, now: float, kind: str, ratio: float) -> None:
        """Learn from work of a kind: measured time over nominal. Nonsense (0, negative, NaN) is ignored."""
        if not MIN_RATIO <= ratio <= MAX_RATIO:
            return
        before = self._factor(now, kind)
        self._spread.append(ratio / before)
        self._spread_p90 = max(1.0, percentile(list(self._spread), 90))
        self._own[kind] = now, _smoothed(before, ratio)
        self._common = _smoothed(self._common, ratio)
        self._others_measured = self._others

    def warn(self, sample: CpuSample) -> None:
        """Learn how busy other processes keep the cores."""
        self._others = sample.others

    def factor(self, now: float, kind: str) -> float:
        """Return the factor to expect for a kind of work."""
        return self._factor(now, kind) * max(1.0, (1 + self._others) / (1 + self._others_measured))

    def p90(self, now: float, kind: str) -> float:
        """Return the factor that nine of ten frames stay below."""
        return self.factor(now, kind) * self._spread_p90

    @property
    def spread_p90(self) -> float:
        """How far above the expected factor nine of ten frames stay at most, as a factor."""
        return self._spread_p90

    @property
    def common(self) -> float:
        """The factor of work that was not done lately."""
        return self._common

    def _factor(self, now: float, kind: str) -> float:
        time, own = self._own.get(kind, (float("-inf"), self._common))
        return own if now - time <= FRESH_S else self._common


def _smoothed(before: float, ratio: float) -> float:
    return before + (RISING if ratio > before else FALLING) * (ratio - before)


def _read(sensor: Callable[[], float | None]) -> float | None:
    with suppress(*SENSOR_ERRORS):
        return sensor()
    return None


def _share(value: float | None) -> float:
    return min(1.0, max(0.0, value or 0.0))


def _frequency_ratio() -> float | None:
    frequency: Any = psutil.cpu_freq()
    return frequency.current / frequency.max if frequency and frequency.max else None


def _temperature_c() -> float | None:
    readings: Any = psutil.sensors_temperatures()  # not on every platform
    return max((float(r.current) for group in readings.values() for r in group), default=None)
