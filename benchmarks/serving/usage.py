"""Usage of a running process: processor time, and memory over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import psutil

SAMPLE_S = 0.5  # between two looks at the memory
SHOWN = 12  # of these, in a series

T = TypeVar("T")


@dataclass
class Usage:
    """Filled in when the watched block ends; memory while it lasts."""

    cpu_s: float = 0.0
    seconds: float = 0.0
    memory_mb: list[tuple[float, float]] = field(default_factory=list)  # (seconds since the start, MB resident)

    @property
    def cores(self) -> float:
        """The busy ones, on average."""
        return self.cpu_s / self.seconds if self.seconds else 0.0


@contextmanager
def watched(pid: int) -> Iterator[Usage]:
    """Watch a process during a block."""
    process, usage, ended = psutil.Process(pid), Usage(), threading.Event()
    start, before = time.monotonic(), process.cpu_times()

    def look() -> None:
        while True:
            usage.memory_mb.append((time.monotonic() - start, process.memory_info().rss / 1e6))
            if ended.wait(SAMPLE_S):
                return

    looking = threading.Thread(target=look, name="usage", daemon=True)
    looking.start()
    try:
        yield usage
    finally:
        ended.set()
        looking.join()
    after = process.cpu_times()
    usage.cpu_s = after.user + after.system - before.user - before.system
    usage.seconds = time.monotonic() - start


def thinned(series: Sequence[T], count: int = SHOWN) -> list[T]:
    """Return at most so many entries of a series, evenly spread, the first and the last among them."""
    if len(series) <= count:
        return list(series)
    return [series[round(index * (len(series) - 1) / (count - 1))] for index in range(count)]
