"""`python -m benchmarks.harness.cpu_load`: processes that compete for the CPU, so that the encoder has less of it.

    python -m benchmarks.harness.cpu_load --processes 2 --schedule "0:0, 10:0.5, 20:1, 30:0"

Each process is busy for that share of every tenth of a second, from those seconds on. They all end with their parent.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splitnet.errors import ConfigError, SplitError

PERIOD_S = 0.1


@dataclass(frozen=True)
class LoadSchedule:
    """Which duty cycle holds from which second on; 0 before the first. steps: (second, duty in 0..1), ascending."""

    steps: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Raise ConfigError if it is none."""
        seconds = [second for second, _ in self.steps]
        if not seconds or seconds != sorted(seconds) or not all(0 <= duty <= 1 for _, duty in self.steps):
            raise ConfigError('a load schedule is "SECOND:DUTY, ...": seconds that ascend, duties between 0 and 1')

    @classmethod
    def parse(cls, text: str) -> LoadSchedule:
        """Return the schedule that is written "0:0, 10:0.5". Raises ConfigError."""
        try:
            pairs = [tuple(map(float, part.split(":"))) for part in text.split(",")]
            return cls(tuple((second, duty) for second, duty in pairs))
        except ValueError:
            return cls(())  # which says how it is written

    def duty(self, now_s: float) -> float:
        """Return the duty cycle of a moment."""
        return ([0.0] + [duty for second, duty in self.steps if second <= now_s])[-1]


def burn(
    schedule: LoadSchedule,
    wanted: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Be busy as the schedule says while wanted; asks once a period, and is busy at each period's beginning."""
    start = period = clock()
    while wanted():
        until = period + schedule.duty(period - start) * PERIOD_S
        while clock() < until:
            pass
        now = clock()
        period = max(period + PERIOD_S, now)
        sleep(period - now)


def _burn_beside(parent: int, schedule: LoadSchedule) -> None:
    burn(schedule, lambda: os.getppid() == parent)


def run(processes: int, schedule: LoadSchedule) -> None:
    """Load the CPU until the parent of this process has gone."""
    parent = os.getppid()
    context = multiprocessing.get_context("fork")
    for _ in range(processes - 1):
        context.Process(target=_burn_beside, args=(os.getpid(), schedule), daemon=True).start()
    burn(schedule, lambda: os.getppid() == parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness.cpu_load", description=__doc__)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many compete (%(default)s)")
    parser.add_argument("--schedule", default="0:1", metavar="S:DUTY,...", help="busy shares by second (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.processes < 1:
            raise ConfigError("--processes must be at least 1")
        run(options.processes, LoadSchedule.parse(options.schedule))
    except SplitError as error:
        print(f"cpu-load: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
