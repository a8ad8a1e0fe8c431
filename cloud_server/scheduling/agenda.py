"""What the engine does next: a batch of frames, or a step where it harms none. Pure: no clock, no lock, no I/O."""

from __future__ import annotations

import math
from collections import deque
from typing import Generic

from cloud_server.scheduling.batcher import Batch, Batcher, R
from cloud_server.scheduling.spare_time import Allowances, Step, Verdict, spare_s, verdict


class Agenda(Generic[R]):
    """A queue of frames and one of steps."""

    def __init__(self, batcher: Batcher[R]) -> None:
        """Take the queue of frames."""
        self.batcher = batcher
        self._steps: deque[Step] = deque()
        self._allowances = Allowances()

    def admit(self, request: R) -> R | None:
        """Give a new request a place, as `Batcher.admit` does."""
        self._allowances.observe(request.arrived_at, request.due - request.arrived_at)
        return self.batcher.admit(request)

    def add(self, step: Step) -> None:
        """Let a step wait for its moment, behind those that wait already."""
        self._steps.append(step)

    def clear(self) -> list[Step]:
        """Remove and return the steps that wait."""
        steps = list(self._steps)
        self._steps.clear()
        return steps

    def next(self, now: float) -> Batch[R] | tuple[Step, Verdict] | None:
        """Remove and return what is due, a step with what becomes of it; None if nothing is before `wake_at`."""
        if self._steps and (fate := self._fate(self._steps[0], now)) is not Verdict.WAIT:
            return self._steps.popleft(), fate
        return self.batcher.take(now) if self.batcher.start_at(now) <= now else None

    def wake_at(self, now: float) -> float:
        """Return when something becomes due if nothing happens; infinity for never."""
        overdue_at = self._steps[0].overdue_at if self._steps else math.inf
        return min(self.batcher.start_at(now), overdue_at)

    def _fate(self, step: Step, now: float) -> Verdict:
        spare = spare_s(self._allowances.least_s(now), self.batcher.bound_s(1))
        return verdict(step, now, self.batcher.depth == 0, spare)
