"""The memory that this process may still take: of the machine, or of the container that it runs in."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # cgroup v2, as a container sees its own


def free_memory(cgroup: Path = CGROUP) -> int | None:
    """Return the bytes that can be had without swapping; None if the system does not say."""
    try:
        machine = int(psutil.virtual_memory().available)
    except (OSError, RuntimeError, psutil.Error):
        return None
    left = _left_in(cgroup)
    return machine if left is None else min(machine, left)


def _left_in(cgroup: Path) -> int | None:
    """Return what a control group's limit leaves; None if there is no limit."""
    try:
        limit, used = (cgroup / name for name in ("memory.max", "memory.current"))
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        return None
