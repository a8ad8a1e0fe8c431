"""Fuzzing as a measurement: every target in a process of its own, and what libFuzzer says of it as rows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from splitnet.errors import ConfigError
from tests.fuzzing.targets import CORPUS

PROJECT = CORPUS.parent.parent.parent
MEMORY_MB = 512  # that one input may take beyond what the target needs anyhow
RESIDENT_MB = 2048  # of the whole process
INPUT_TIMEOUT_S = 60  # far more than the slowest target needs, on however busy a machine
MAX_INPUT_BYTES = {  # as far as the real limits are worth the time
    "weights": 16_384,
    "manifest": 4096,
    "enrol-request": 4096,
    "enrol-reply": 20_000,
    "device-root": 4096,
    "client-certificate": 8192,
}  # others: DEFAULT_INPUT_BYTES
DEFAULT_INPUT_BYTES = 1024
FOUND_S = 60.0  # beyond its time that a target's process may take to start and to end
_PROGRESS = re.compile(r"^#\d+\s.*\bcov: (\d+).*\bcorp: (\d+)/", re.MULTILINE)
_FINDING = re.compile(r"^SUMMARY: libFuzzer: (.+)|^\s*=+ Uncaught Python exception.*\n(.+)", re.MULTILINE)


@dataclass(frozen=True)
class Budget:
    """When a target has been fuzzed enough: whichever comes first."""

    executions: int
    seconds: float

    def __post_init__(self) -> None:
        """Raise ConfigError if a bound is out of range."""
        if not (1 <= self.executions <= 10**9 and 1 <= self.seconds <= 86_400):
            raise ConfigError("--executions takes 1 to 1000000000, --seconds 1 to 86400")


def fuzz(name: str, budget: Budget, corpus: Path, findings: Path) -> dict[str, object]:
    """Fuzz one target; returns its row. Raises ConfigError if it cannot run here.

    corpus: folder that grows by what is new. findings: folder for inputs that a target did not survive.
    """
    require_atheris()
    grown = corpus / name
    for folder in (grown, findings):
        folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as scratch:
        command = [sys.executable, "-m", "tests.fuzzing.worker", name, scratch, str(MEMORY_MB)]
        command += [*_options(name, budget, findings), str(grown), str(CORPUS / name)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, timeout=budget.seconds + 10 * FOUND_S
        )
    return row(name, ran.stderr.decode(errors="replace"), ran.returncode, time.monotonic() - start)


def row(name: str, said: str, exit_code: int, seconds: float) -> dict[str, object]:
    """Return the figures of one target from what libFuzzer said. Raises ConfigError if it never began."""
    executions = _statistic(said, "number_of_executed_units")
    if executions is None:
        raise ConfigError(f"{name} could not be fuzzed: {(said.strip().splitlines() or ['it said nothing'])[-1]}")
    progress = _PROGRESS.findall(said)
    coverage, corpus = progress[-1] if progress else (0, 0)
    return {
        "target": name,
        "executions": executions,
        "executions_per_s": executions / seconds,
        "coverage": int(coverage),
        "corpus_inputs": int(corpus),
        "slowest_input_s": _statistic(said, "slowest_unit_time_sec"),
        "memory_mb_peak": _statistic(said, "peak_rss_mb"),
        "finding": finding(said) if exit_code else None,
    }


def with_earlier(rows: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Return targets' rows with what earlier runs did of them, and earlier rows of targets that were not run now."""
    names = {row["target"] for row in rows}
    others = {row["target"]: row for result in earlier for row in result["targets"] if row["target"] not in names}
    return [added(row, earlier) for row in rows] + [added({**row, "executions": 0}, earlier) for row in others.values()]


def added(row: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """Return a target's row with what earlier runs did of it. Their findings are mended by now, or found again."""
    rows = [one for result in earlier for one in result["targets"] if one["target"] == row["target"]]
    sums = {"executions": sum(one["executions"] for one in (row, *rows))}
    peaks = {key: max(one[key] or 0 for one in (row, *rows)) for key in ("slowest_input_s", "memory_mb_peak")}
    return {**row, **sums, **peaks}


def finding(said: str) -> str:
    """Return in a line why a target's process failed."""
    reasons = [first or second for first, second in _FINDING.findall(said)]
    return reasons[0].strip() if reasons else "the process died"


def require_atheris() -> None:
    """Raise ConfigError where the fuzzer is not installed."""
    if find_spec("atheris") is None:
        raise ConfigError("fuzzing needs atheris: `pip install -e .[dev,fuzz]`, on Linux and x86-64 only")


def _options(name: str, budget: Budget, findings: Path) -> list[str]:
    return [
        f"-runs={budget.executions}",
        f"-max_total_time={round(budget.seconds)}",
        f"-max_len={MAX_INPUT_BYTES.get(name, DEFAULT_INPUT_BYTES)}",
        f"-timeout={INPUT_TIMEOUT_S}",
        f"-rss_limit_mb={RESIDENT_MB}",
        f"-artifact_prefix={findings.resolve()}/{name}-",
        "-print_final_stats=1",
    ]


def _statistic(said: str, name: str) -> int | None:
    found = re.search(rf"^stat::{name}:\s*(\d+)", said, re.MULTILINE)
    return int(found[1]) if found else None


def _memory_folder() -> Path | None:
    """Return a folder that is no disk, as many targets read a file each time."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() else None
