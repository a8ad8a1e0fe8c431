"""Cores for a measured process and for its load, so that neither takes from the other."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """Numbers of cores."""

    server: tuple[int, ...]
    load: tuple[int, ...]


def available_cores() -> tuple[int, ...]:
    """Return the cores that this thread may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def shared_out(available: Collection[int], wanted: int) -> Cores:
    """Give a server the first cores and its load the others; where none would be left, both have all of them."""
    cores = tuple(sorted(available))
    return Cores(cores[:wanted], cores[wanted:]) if wanted < len(cores) else Cores(cores, cores)


@contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """Run this thread, and what it starts in the block, on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
