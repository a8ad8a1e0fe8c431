"""The share of a core that this process was given while it measured: with less than one, its times are others', too."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_SHARE = 0.8  # of a core: what was measured with less is not how fast the device is

Clock = Callable[[], float]


class CoreShare:
    """From its making on, the processor time of all threads over the time that has passed."""

    def __init__(self, clock: Clock = time.monotonic, processor_clock: Clock = time.process_time) -> None:
        self._clocks = clock, processor_clock
        self._began = clock(), processor_clock()

    def taken(self) -> float:
        """Return the share so far; 1 where no time has passed."""
        passed, used = (read() - began for read, began in zip(self._clocks, self._began, strict=True))
        return used / passed if passed > 0 else 1.0

    def complaint(self) -> str | None:
        """Return what is wrong with measuring now, None if nothing is."""
        share = self.taken()
        if share >= LEAST_SHARE:
            return None
        return f"this device was busy with other work while it was measured, which got {100 * share:.0f} % of a core"
