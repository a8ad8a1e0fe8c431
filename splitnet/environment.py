"""The machine and the commit of a measurement, recorded beside every figure. No host names, no paths."""

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
    """Return processor, cores, system and the versions that matter for speed. A small device has no PyTorch."""
    try:
        import torch  # here, because the client's help can do without
    except ModuleNotFoundError:
        accelerator = torch_version = None
    else:
        accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        torch_version = torch.__version__
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "accelerator": accelerator,
        "python": platform.python_version(),
        "torch": torch_version,
        "numpy": metadata.version("numpy"),
    }


def processor(proc: Path = Path("/proc")) -> str:
    """Return the board's name where the system tells it, else the processor's, else its part numbers.

    proc: the folder of the kernel's files. In a container the device tree is hidden, and few ARM kernels give the
    processor a name; the numbers of implementer and parts (Arm ARM, MIDR_EL1) tell such boards apart.
    """
    facts = _facts(proc / "cpuinfo")
    named = [_text(proc / "device-tree" / "model"), *facts.get("Model", []), *facts.get("model name", [])]
    makers, parts = (sorted(set(facts.get(f"CPU {key}", []))) for key in ("implementer", "part"))
    numbered = " ".join(["implementer", *makers, "part", *parts]) if parts else ""
    return next(filter(None, [*named, numbered, platform.processor()]), "unknown")


def _facts(cpuinfo: Path) -> dict[str, list[str]]:
    """Return what /proc/cpuinfo says under each key, once for each core that says it."""
    facts: dict[str, list[str]] = {}
    for line in _text(cpuinfo).splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), []).append(value.strip())
    return facts


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip(" \0\n")
    except OSError:
        return ""


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
