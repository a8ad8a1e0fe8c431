"""What the engine's thread does beside frames, such as warming up a new model: when it harms none of them. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

PATIENCE_S = 2.0  # that a step waits for a moment when no frame does
WINDOW_S = 10  # whole seconds; for so long it is remembered how much time frames were given
SPARE_SHARE = 0.5  # of what a lone frame would have left: several may come while the engine is away


class Verdict(Enum):
    """What becomes of a step."""

    TAKE = "take"
    WAIT = "wait"
    DROP = "drop"


@dataclass(eq=False)
class Step:
    """One piece of work. Times in seconds on the caller's clock."""

    action: Callable[[], None]
    since: float  # when it was asked for
    expected_s: float = 0.0  # how long it takes; 0 if nobody can know
    optional: bool = False  # rather left out than harmful
    done: Future[bool] = field(default_factory=Future)  # whether it was taken, or what it has raised

    @property
    def overdue_at(self) -> float:
        """Until when it waits."""
        return self.since + PATIENCE_S

    def settle(self, verdict: Verdict) -> None:
        """Take the step, or tell whoever waits for it that it is left out."""
        if not self.done.set_running_or_notify_cancel():
            return
        try:
            if verdict is Verdict.TAKE:
                self.action()
        except Exception as error:
            self.done.set_exception(error)
        else:
            self.done.set_result(verdict is Verdict.TAKE)


def verdict(step: Step, now: float, idle: bool, spare_s: float) -> Verdict:
    """Return what becomes of a step: it waits until no frame does.

    What is optional is dropped if it would take longer than can be spared even then. What is not is taken, for waiting
    would make it no shorter; and under load without a pause, when it has waited long enough.
    """
    if step.optional and step.expected_s > spare_s:
        return Verdict.DROP
    if idle:
        return Verdict.TAKE
    if now < step.overdue_at:
        return Verdict.WAIT
    return Verdict.DROP if step.optional else Verdict.TAKE


class Allowances:
    """How little time frames were lately given from arrival to deadline."""

    def __init__(self) -> None:
        self._least: deque[tuple[int, float]] = deque(maxlen=WINDOW_S + 1)  # second, and the least within it

    def observe(self, arrived_at: float, allowance_s: float) -> None:
        """Take note of a frame."""
        second = math.floor(arrived_at)
        if self._least and self._least[-1][0] == second:
            allowance_s = min(allowance_s, self._least.pop()[1])
        self._least.append((second, allowance_s))

    def least_s(self, now: float) -> float:
        """Return the least of late; infinity if there was no frame."""
        return min((least for second, least in self._least if second >= math.floor(now) - WINDOW_S), default=math.inf)


def spare_s(least_allowance_s: float, frame_s: float) -> float:
    """Return how long an idle engine may be away without making late what comes meanwhile.

    A frame that comes just after it has left waits all that time, and then takes frame_s itself.
    """
    return SPARE_SHARE * max(0.0, least_allowance_s - frame_s)
