"""What a measurement was taken on: recorded beside every figure. No host names, no paths."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent


def environment() -> dict[str, object]:
    """Return {"commit": ..., "machine": ...} to put into a JSON of results."""
    return {"commit": commit(), "machine": machine()}


def machine() -> dict[str, object]:
    """Return processor, cores, system and the versions that matter for speed."""
    import torch  # here, because the client's help can do without

    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
    }


def processor() -> str:
    """Return the board's name where the device tree tells it, else the processor's."""
    for path, key in ((Path("/proc/device-tree/model"), ""), (Path("/proc/cpuinfo"), "model name")):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(key):
                return line.split(":")[-1].strip(" \0")
    return platform.processor() or "unknown"


def version() -> str:
    """Return the version of this software, or the commit of a checkout that is not installed."""
    try:
        return metadata.version("slimsplit")
    except metadata.PackageNotFoundError:
        return f"at commit {commit()[:12]}"


def commit() -> str:
    """Return the commit of a checkout, marked if files differ from it; "unknown" outside of one."""
    if not (_PROJECT / ".git").exists():
        return "unknown"
    revision = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{revision}-modified" if revision and changed else revision or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_PROJECT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
