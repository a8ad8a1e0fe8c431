"""What a device saves without PyTorch, and without numba: disk, memory, time until its first answer; and what it costs.

All send the same frames to a `cloud-server` on loopback. Those without PyTorch take the package of the bundle, and what
they do not have cannot be imported in their processes. Processor time until the first answer tells of a busy machine,
too, as no clock can.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import cv2
import psutil
from packaging.requirements import Requirement

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import frames_from
from benchmarks.harness.processes import server_process
from splitnet.errors import ConfigError
from splitnet.package_export import export_package
from splitnet.settings import DEFAULT_BUNDLE

FRAMES = 30
WIDTH = 3
POLL_S = 0.02
PYTORCH, COMPILER = ("torch", "onnx"), ("numba", "llvmlite")
START = "from edge_client.__main__ import program; program()"
WITH_PYTORCH = ("slimsplit", "onnxruntime", "onnx", "prometheus-client")
REQUIREMENTS = Path(__file__).resolve().parent.parent.parent / "deploy" / "device-requirements.txt"


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="starts of each; the median counts (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return disk, memory, time until the first answer and encode time of a small device, and of larger ones."""
    if options.runs < 1:
        raise ConfigError("--runs must be positive")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        export_package(options.bundle, work / "package")
        (work / "images").mkdir()
        for number, image in enumerate(frames_from(None, FRAMES)):
            cv2.imwrite(str(work / "images" / f"{number:03}.jpg"), image)
        with server_process(options.bundle, work / "server.log", "--log-level", "warning", "--no-tune") as server:
            package, address = work / "package", server.address
            rows = {
                "small": _started(work, address, package, (*PYTORCH, *COMPILER), options.runs),
                "small, with numba": _started(work, address, package, PYTORCH, options.runs),
                "with PyTorch": _started(work, address, options.bundle, (), options.runs),
            }
    lines = REQUIREMENTS.read_text().splitlines()
    small = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    for row, names in zip(rows.values(), (small, (*small, *COMPILER), WITH_PYTORCH), strict=True):
        row["disk_mb"] = round(_disk_mb(names), 0)
    return {"bundle": str(options.bundle.name), "rows": [{"device": name, **row} for name, row in rows.items()]}


BENCHMARK = Benchmark("small", "a small device: disk, memory, first answer, encode time", _add_arguments, run)


def _started(work: Path, server: str, bundle: Path, missing: tuple[str, ...], runs: int) -> dict[str, float]:
    found = [_start(work, server, bundle, missing) for _ in range(runs + 1)][1:]  # the first compiles what is kept then
    firsts, used, resident, peaks, encode = (sorted(column)[len(column) // 2] for column in zip(*found, strict=True))
    times = {"first_answer_s": round(firsts, 2), "first_answer_cpu_s": round(used, 2), "encode_ms_p50": encode}
    return {**times, "resident_mb": round(resident, 0), "peak_mb": round(peaks, 0)}


def _start(work: Path, server: str, bundle: Path, missing: tuple[str, ...]) -> tuple[float, float, float, float, float]:
    """Return wall and processor seconds until the first answer, MB resident at the end and at most, and encode ms."""
    out, summary = work / "answers.jsonl", work / "summary.json"
    before = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); "
    out.unlink(missing_ok=True)
    options = ["--server", server, "--source", str(work / "images"), "--bundle", str(bundle), "--out", str(out)]
    point = ["--fps", "10", "--mode", "split", "--width", str(WIDTH), "--no-status", "--json-summary", str(summary)]
    begun, first, used, resident, peak = time.monotonic(), 0.0, 0.0, 0, 0
    words = [sys.executable, "-c", before + START, "run", *options, *point]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(POLL_S)
        try:
            if not first and out.exists() and out.stat().st_size:
                first, used = time.monotonic() - begun, sum(watched.cpu_times()[:2])
            resident = watched.memory_info().rss or resident
        except psutil.Error:
            break
        peak = max(peak, resident)
    if process.wait() != 0:
        raise ConfigError(f"the client ended with {process.returncode}")
    encode_ms = float(json.loads(summary.read_text())["total"]["encode_ms_p50"])
    return first, used, resident / 1e6, peak / 1e6, encode_ms


def _disk_mb(names: Iterable[str]) -> float:
    """Return what distributions and all that they need take on disk."""
    waiting, seen, size = list(names), set(), 0
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        size += sum(path.stat().st_size for one in found.files or () if (path := Path(str(one.locate()))).is_file())
        needed = [Requirement(text) for text in found.requires or ()]
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return size / 1e6
