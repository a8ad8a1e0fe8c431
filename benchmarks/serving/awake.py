"""Cores that never halt: a virtual machine's halted core takes long to wake, which is no property of a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.harness.cores import on_cores

# Only what else would be idle time: any other process takes the core from it at once.
SPIN = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"


@contextmanager
def kept_awake(cores: Collection[int]) -> Iterator[None]:
    """Keep cores busy with the lowest priority there is during a block. Linux only, as the affinity of threads."""
    with ExitStack() as stack:
        for core in cores:
            with on_cores([core]):
                spinning = subprocess.Popen([sys.executable, "-c", SPIN], stdin=subprocess.DEVNULL)
            stack.callback(_stop, spinning)
        yield


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
