"""The load of the device's processor, read by psutil."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import psutil

from edge_client.adaptation.load import CpuSample

SENSOR_ERRORS = (OSError, RuntimeError, AttributeError, NotImplementedError, ValueError, psutil.Error)


class CpuSampler:
    """Samples the processor. Shares are those since the sample before."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cores = psutil.cpu_count() or 1
        self.sample()  # the first shares have nothing to be counted from

    def sample(self) -> CpuSample:
        """Return what can be read. A share that is missing or fails counts as 0."""
        return CpuSample(
            busy=_share(psutil.cpu_percent),
            own=_share(lambda: self._process.cpu_percent() / self._cores),
        )


def _share(percent: Callable[[], float]) -> float:
    with suppress(*SENSOR_ERRORS):
        return min(1.0, max(0.0, percent() / 100))
    return 0.0
