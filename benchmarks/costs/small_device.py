"""What a device without PyTorch saves: disk, memory, and time until its first answer, beside one with it.

Both send the same frames to a `cloud-server` on loopback. The one without takes the package of the bundle, and PyTorch
cannot be imported in its process. Processor time until the first answer tells of a busy machine, too, as no clock can.
"""

from __future__ import annotations

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
POLL_S = 0.02
BLOCKED = "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; "
START = "from edge_client.__main__ import main; sys.exit(main(sys.argv[1:]))"
WITH_PYTORCH = ("slimsplit", "onnxruntime", "onnx", "prometheus-client")
REQUIREMENTS = Path(__file__).resolve().parent.parent.parent / "deploy" / "device-requirements.txt"


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="starts of each; the median counts (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return disk, resident memory and time until the first answer of a device without PyTorch, and with it."""
    if options.runs < 1:
        raise ConfigError("--runs must be positive")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        export_package(options.bundle, work / "package")
        (work / "images").mkdir()
        for number, image in enumerate(frames_from(None, FRAMES)):
            cv2.imwrite(str(work / "images" / f"{number:03}.jpg"), image)
        with server_process(options.bundle, work / "server.log", "--log-level", "warning", "--no-tune") as server:
            rows = {
                "without PyTorch": _started(work, server.address, work / "package", BLOCKED, options.runs),
                "with PyTorch": _started(work, server.address, options.bundle, "import sys; ", options.runs),
            }
    lines = REQUIREMENTS.read_text().splitlines()
    small = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    rows["without PyTorch"]["disk_mb"] = round(_disk_mb(small), 0)
    rows["with PyTorch"]["disk_mb"] = round(_disk_mb(WITH_PYTORCH), 0)
    return {"bundle": str(options.bundle.name), "rows": [{"device": name, **row} for name, row in rows.items()]}


BENCHMARK = Benchmark("small", "a device without PyTorch: disk, memory, first answer", _add_arguments, run)


def _started(work: Path, server: str, bundle: Path, before: str, runs: int) -> dict[str, float]:
    found = [_start(work, server, bundle, before) for _ in range(runs + 1)][1:]  # the first compiles what is kept then
    firsts, used, resident, peaks = (sorted(column)[len(column) // 2] for column in zip(*found, strict=True))
    times = {"first_answer_s": round(firsts, 2), "first_answer_cpu_s": round(used, 2)}
    return {**times, "resident_mb": round(resident, 0), "peak_mb": round(peaks, 0)}


def _start(work: Path, server: str, bundle: Path, before: str) -> tuple[float, float, float, float]:
    """Return seconds and processor seconds until the first answer, and MB resident at the end and at most."""
    out = work / "answers.jsonl"
    out.unlink(missing_ok=True)
    options = ["--server", server, "--source", str(work / "images"), "--bundle", str(bundle), "--out", str(out)]
    point = ["--fps", "10", "--mode", "split", "--no-status"]
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
    return first, used, resident / 1e6, peak / 1e6


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
