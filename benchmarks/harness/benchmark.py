"""A benchmark as `python -m benchmarks` knows it, and the timing of what it measures."""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """One measurement: its name, what it measures, its own options and the function that takes it.

    `run` returns what goes into the JSON: figures, and lists of rows with the same keys.
    """

    name: str
    summary: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], dict[str, object]]


def milliseconds_p50(action: Callable[[], object], repeats: int) -> float:
    """Return the median time of an action, after a tenth of the repeats as warm-up, in milliseconds."""
    for _ in range(max(1, repeats // 10)):
        action()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)
