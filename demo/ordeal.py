"""The demo's second part: a link that is squeezed, a processor that others want."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from demo.answers import Answer
from splitnet.manifest import Manifest
from splitnet.operating_point import Mode

FREE_MBPS = 20.0
LEAST_DEADLINE_MS = 100
SLACK = 2.0  # the deadline, over what the best point took undisturbed
PHASE_S = 5.0
LOADED_S = 6.0


@dataclass(frozen=True)
class Phase:
    """A few seconds of the same conditions. load: the busy share of one competing process for each core, 0..1."""

    name: str
    seconds: float
    mbps: float = FREE_MBPS
    load: float = 0.0


@dataclass(frozen=True)
class Ordeal:
    """The phases, one after another, and the deadline that each frame has to meet meanwhile."""

    deadline_ms: int
    phases: tuple[Phase, ...]

    @property
    def ends_s(self) -> list[float]:
        """When each phase ends, in seconds from the first one's beginning."""
        return list(accumulate(phase.seconds for phase in self.phases))

    def phase_at(self, seconds: float) -> int | None:
        """Return the index of the phase of a moment; None before the first and after the last."""
        if seconds < 0:
            return None
        return next((index for index, end in enumerate(self.ends_s) if seconds < end), None)

    def link_csv(self, start_s: float) -> str:
        """Return what the link could carry as lines of "seconds,Mbps", the first phase beginning at start_s."""
        times = [0.0, *(start_s + end for end in self.ends_s)]
        rates = [*(phase.mbps for phase in self.phases), 0.0]  # the last line only ends it
        return "".join(f"{time:.2f},{mbps:g}\n" for time, mbps in zip(times, rates, strict=True))


def ordeal_for(manifest: Manifest, answers: Sequence[Answer], largest: str) -> Ordeal | None:
    """Return an ordeal that fits this machine; None if the bundle is not measured or the largest point unanswered.

    The deadline is twice what the largest point has just taken here. The squeezed link needs all of it for that
    point's bytes alone.
    """
    own = [answer for answer in answers if answer.point == largest]
    if not (own and any(point.mode is Mode.SPLIT for point in manifest.points)):
        return None
    usual_ms = statistics.median(answer.end_to_end_ms for answer in own)
    deadline_ms = max(LEAST_DEADLINE_MS, round(SLACK * usual_ms / 10) * 10)
    squeezed_mbps = round(8 * statistics.median(answer.payload_bytes for answer in own) / deadline_ms / 1000, 3)
    phases = (
        Phase("free", PHASE_S),
        Phase("link squeezed", PHASE_S, mbps=squeezed_mbps),
        Phase("free again", PHASE_S),
        Phase("CPU loaded", LOADED_S, load=1.0),
        Phase("free again", PHASE_S),
    )
    return Ordeal(deadline_ms, phases)
