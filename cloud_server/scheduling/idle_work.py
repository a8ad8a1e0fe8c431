"""Work between batches, such as warming up a new bundle: done when it makes no frame late. Pure: no clock, no I/O.

An idle task waits until no frame does. What a new bundle needs goes in the end even under load; what only saves time
later is left out if a frame that came meanwhile could not bear the wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic

from cloud_server.scheduling.batcher import Batch, Batcher, R

PATIENCE_S = 2.0  # that a task waits for a moment when no frame does
WINDOW_S = 10  # whole seconds; for so long it is remembered how much time frames were given
SPARE_SHARE = 0.5  # of what a lone frame would have left: several may come while the engine is away
EVERY_SIZE = 16  # up to here every batch size warms up if each is slow at first, beyond it every second power of two


@dataclass(frozen=True)
class WarmUpRun:
    """A batch of blank frames. first: the first of its size, which allocates and compiles; else its time counts."""

    size: int
    first: bool


def warm_up_runs(largest: int, each_size_differs: bool) -> list[WarmUpRun]:
    """Return the runs for batches of up to a size, the smallest first.

    each_size_differs: every size is slow the first time; else only the first batch of all is, and the others show
    what a frame costs.
    """
    if not each_size_differs:
        powers = {1 << power for power in range(largest.bit_length())}
        return [WarmUpRun(1, first=True), *(WarmUpRun(size, first=False) for size in sorted({*powers, largest}))]
    few = range(1, min(largest, EVERY_SIZE) + 1)
    many = (size for size in (1 << power for power in range(4, 11, 2)) if EVERY_SIZE < size < largest)
    return [WarmUpRun(size, first) for size in sorted({*few, *many, largest}) for first in (True, False)]


class Verdict(Enum):
    """What becomes of a task."""

    TAKE = "take"
    WAIT = "wait"
    DROP = "drop"


@dataclass(eq=False)
class IdleTask:
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

    def verdict(self, now: float, idle: bool, spare_s: float) -> Verdict:
        """Return what becomes of the task. idle: whether no frame waits.

        What is optional is dropped if it would take longer than can be spared even then. What is not is taken:
        waiting would make it no shorter. Under load without a pause it is taken when it has waited long enough.
        """
        if self.optional and self.expected_s > spare_s:
            return Verdict.DROP
        if idle:
            return Verdict.TAKE
        if now < self.overdue_at:
            return Verdict.WAIT
        return Verdict.DROP if self.optional else Verdict.TAKE

    def settle(self, verdict: Verdict) -> None:
        """Do the task, or tell whoever waits for it that it is left out."""
        if not self.done.set_running_or_notify_cancel():
            return
        try:
            if verdict is Verdict.TAKE:
                self.action()
        except Exception as error:
            self.done.set_exception(error)
        else:
            self.done.set_result(verdict is Verdict.TAKE)


class Allowances:
    """The least time that recent frames were given from arrival to deadline."""

    def __init__(self) -> None:
        self._least: deque[tuple[int, float]] = deque(maxlen=WINDOW_S + 1)  # second, and the least within it

    def observe(self, arrived_at: float, allowance_s: float) -> None:
        """Take note of a frame."""
        second = math.floor(arrived_at)
        if self._least and self._least[-1][0] == second:
            allowance_s = min(allowance_s, self._least.pop()[1])
        self._least.append((second, allowance_s))

    def least_s(self, now: float) -> float:
        """Return the least within the last seconds; infinity if there was no frame."""
        return min((least for second, least in self._least if second >= math.floor(now) - WINDOW_S), default=math.inf)


def spare_s(least_allowance_s: float, frame_s: float) -> float:
    """Return how long an idle engine may be away and still answer in time whatever comes meanwhile.

    A frame that comes just after it has left waits all that time, and then takes frame_s itself.
    """
    return SPARE_SHARE * max(0.0, least_allowance_s - frame_s)


class WorkQueue(Generic[R]):
    """Whatever the engine does next: frames in batches, and idle tasks where they harm none."""

    def __init__(self, batcher: Batcher[R]) -> None:
        """Take the queue of frames."""
        self.batcher = batcher
        self._tasks: deque[IdleTask] = deque()
        self._allowances = Allowances()

    def admit(self, request: R) -> R | None:
        """Give a new request a place, as `Batcher.admit` does."""
        self._allowances.observe(request.arrived_at, request.due - request.arrived_at)
        return self.batcher.admit(request)

    def add(self, task: IdleTask) -> None:
        """Let a task wait for its moment, behind those that wait already."""
        self._tasks.append(task)

    def clear(self) -> list[IdleTask]:
        """Remove and return the tasks that wait."""
        tasks = list(self._tasks)
        self._tasks.clear()
        return tasks

    def next(self, now: float) -> Batch[R] | tuple[IdleTask, Verdict] | None:
        """Remove and return what is due, a task with what becomes of it; None if nothing is before `wake_at`."""
        if self._tasks and (fate := self._fate(self._tasks[0], now)) is not Verdict.WAIT:
            return self._tasks.popleft(), fate
        return self.batcher.take(now) if self.batcher.start_at(now) <= now else None

    def wake_at(self, now: float) -> float:
        """Return when something becomes due if nothing happens; infinity for never."""
        overdue_at = self._tasks[0].overdue_at if self._tasks else math.inf
        return min(self.batcher.start_at(now), overdue_at)

    def _fate(self, task: IdleTask, now: float) -> Verdict:
        spare = spare_s(self._allowances.least_s(now), self.batcher.bound_s(1))
        return task.verdict(now, self.batcher.depth == 0, spare)
