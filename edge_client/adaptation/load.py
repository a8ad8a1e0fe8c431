"""The load of the device's processor: how much slower than nominal it works now. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from edge_client.adaptation.spread import Spread
from edge_client.percentiles import percentile

FRESH_S = 2.0  # a kind of work not done for this long shares the common factor
RISING = 0.5  # weight of a ratio above the factor: load has to be noticed within a few frames
FALLING = 0.15  # weight of one below
PAUSE_MS = 3.0  # that a scheduler lets a process wait on a busy core
SPREAD_FRAMES = 32  # ratios that the p90 is taken of
MIN_RATIO, MAX_RATIO = 0.02, 200.0  # beyond these a measurement or a profile is nonsense


@dataclass(frozen=True)
class CpuSample:
    """The load of the processor, as the system shows it."""

    busy: float  # 0..1 of all cores
    own: float  # 0..1 of all cores, by this process

    @property
    def others(self) -> float:
        """The share of all cores that other processes take."""
        return min(1.0, max(0.0, self.busy - self.own))


class LoadFactor:
    """How many times longer than nominal work takes now, for each kind of work.

    Kinds are what the caller tells apart: widths, image codecs. One that was measured within FRESH_S has its own
    factor. The others share the common one, as load slows them all. The system's CPU share moves before the next frame
    is measured, and raises the factor at once.
    """

    def __init__(self) -> None:
        self._common = 1.0
        self._own: dict[str, tuple[float, float]] = {}  # kind: (time, factor)
        self._spread: deque[float] = deque(maxlen=SPREAD_FRAMES)  # ratios over the factor before them
        self._spread_p90 = 1.0
        self._others = 0.0  # share of other processes now ...
        self._others_measured = 0.0  # ... and when a ratio was last measured

    def measured(self, now: float, kind: str, ratio: float, nominal_ms: float = math.inf) -> None:
        """Learn from work of a kind: measured time over nominal. Nonsense (0, negative, NaN) is ignored.

        nominal_ms: how long such work takes. To others it tells the less, the shorter it is beside a pause of the
        scheduler, which is as long for all.
        """
        if not MIN_RATIO <= ratio <= MAX_RATIO:
            return
        before = self._factor(now, kind)
        self._spread.append(ratio / before)
        self._spread_p90 = max(1.0, percentile(self._spread, 90))
        is_first = self.is_stale(now, kind)  # its own figure at last: what others had suggested gives way
        self._own[kind] = now, (ratio if is_first and ratio < before else _smoothed(before, ratio))
        telling = 1 / (1 + PAUSE_MS / nominal_ms)
        self._common = _smoothed(self._common, 1 + telling * (ratio - 1), telling)
        self._others_measured = self._others

    def warn(self, sample: CpuSample) -> None:
        """Learn how busy other processes keep the cores."""
        self._others = sample.others

    def factor(self, now: float, kind: str) -> float:
        """Return the factor to expect for a kind of work."""
        return self._factor(now, kind) * self._warning

    def spreads(self, now: float, kinds: Iterable[str]) -> dict[str, Spread]:
        """Return what to expect for several kinds of work, and the p90: those of `factor` and `spread_p90`."""
        warning, p90 = self._warning, self._spread_p90
        expected = [(kind, warning * self._factor(now, kind)) for kind in kinds]
        return {kind: Spread(factor, factor * p90) for kind, factor in expected}

    def stale(self, now: float, kinds: Iterable[str]) -> frozenset[str]:
        """Return those of some kinds of work that were not measured within FRESH_S."""
        return frozenset(kind for kind in kinds if self.is_stale(now, kind))

    @property
    def _warning(self) -> float:
        return max(1.0, (1 + self._others) / (1 + self._others_measured))

    @property
    def spread_p90(self) -> float:
        """How far above the expected factor nine of ten frames stay at most, as a factor."""
        return self._spread_p90

    @property
    def common(self) -> float:
        """The factor of work that was not done within FRESH_S."""
        return self._common

    def is_stale(self, now: float, kind: str) -> bool:
        """Return whether a kind of work was not measured within FRESH_S."""
        own = self._own.get(kind)
        return own is None or not 0 <= now - own[0] <= FRESH_S

    def _factor(self, now: float, kind: str) -> float:
        own = self._own.get(kind)
        return own[1] if own is not None and 0 <= now - own[0] <= FRESH_S else self._common


def _smoothed(before: float, ratio: float, telling: float = 1.0) -> float:
    return before + (RISING if ratio > before else FALLING * telling) * (ratio - before)
