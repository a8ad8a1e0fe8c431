"""Whether a new model does as well as the one before, judged by what the run itself has measured. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from edge_client.frames import Fate, FrameOutcome

KEPT = 300  # frames, of each width
FEW = 5  # frames of a width that say something


@dataclass(frozen=True)
class TrialLimits:
    """What a trial must show."""

    seconds: float = 20.0
    frames: int = 30  # answered
    slower: float = 1.5  # times the encode time of before, and
    slower_ms: float = 5.0  # by so much
    refused: float = 0.1  # share of the frames sent, beyond that of before
    patience_s: float = 120.0  # without any answer while there is a link


@dataclass
class Figures:
    """What frames have cost, and what became of them."""

    encode_ms: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # by width
    answered: int = 0
    refused: int = 0

    def add(self, fate: Fate) -> None:
        """Learn what has become of a frame."""
        if fate.encoded is not None and fate.encoded.point.is_sent and fate.encoded.point.width:
            times = self.encode_ms[fate.encoded.point.width]
            times.append(fate.encoded.encode_ms)
            del times[:-KEPT]
        self.answered += fate.outcome in (FrameOutcome.ANSWERED, FrameOutcome.LATE)
        self.refused += fate.outcome is FrameOutcome.REFUSED

    @property
    def refused_share(self) -> float:
        """Share of what was sent and came to an end."""
        return self.refused / max(1, self.answered + self.refused)


@dataclass(frozen=True)
class Verdict:
    """How a trial has ended. reason: why it goes back; empty: it stays."""

    reason: str = ""


class Trial:
    """A new model at work."""

    def __init__(self, before: Figures, began: float, limits: TrialLimits | None = None) -> None:
        """Take what the old model has shown, and when the new one has begun."""
        self._before, self._began = before, began
        self._limits = limits or TrialLimits()
        self.figures = Figures()
        self._heard = began

    def add(self, now: float, fate: Fate) -> None:
        """Learn what has become of a frame of the new model."""
        self.figures.add(fate)
        if fate.outcome in (FrameOutcome.ANSWERED, FrameOutcome.LATE, FrameOutcome.REFUSED):
            self._heard = now

    def verdict(self, now: float, has_link: bool = True) -> Verdict | None:
        """Return how it ends; None: not yet. Without a link it waits: that is not the model's fault."""
        limits, sent = self._limits, self.figures.answered + self.figures.refused
        if not has_link:
            self._heard = now
        is_over = now - self._began >= limits.seconds and self.figures.answered >= limits.frames
        if sent >= FEW and (reason := self._refusals()):
            return Verdict(reason)
        # Another program may take the processor for half a second: that is not the model's fault.
        if (is_over or sent >= limits.frames) and (reason := self._slowness()):
            return Verdict(reason)
        if is_over:
            return Verdict()
        if has_link and now - self._heard > limits.patience_s:
            return Verdict(f"no answer for {limits.patience_s:g} s")
        return None

    def _refusals(self) -> str:
        share, before = self.figures.refused_share, self._before.refused_share
        if share - before <= self._limits.refused:
            return ""
        return f"the server refuses {share:.0%} of its frames, of the old model's {before:.0%}"

    def _slowness(self) -> str:
        slower: list[tuple[float, float, int]] = []
        for width, times in self.figures.encode_ms.items():
            old = self._before.encode_ms.get(width, [])
            if len(times) >= FEW and len(old) >= FEW:
                slower.append((median(times), median(old), len(times)))
        new_ms, old_ms = _mean(slower, 0), _mean(slower, 1)
        if not slower or new_ms <= self._limits.slower * old_ms or new_ms - old_ms <= self._limits.slower_ms:
            return ""
        return f"encoding takes {new_ms:.1f} ms, {old_ms:.1f} ms before"


def _mean(rows: Sequence[tuple[float, float, int]], column: int) -> float:
    return sum(row[column] * row[2] for row in rows) / max(1, sum(row[2] for row in rows))
