"""What a model runs before it is needed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

EVERY_SIZE = 16  # up to here every batch size is run if each is slow at first, beyond it every second power of two


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
