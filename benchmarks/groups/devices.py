"""Groups of devices as real processes: what each takes and sends, how late answers are, and what is lost with devices.

One device owns the images and hands them on, the others take them from it, and a real `cloud-server` joins the parts.
Then the devices are killed, one after the other. Devices share some cores, and the server has the rest.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.groups.join_cost import join_cost
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.cores import Cores, available_cores, on_cores, shared_out
from benchmarks.harness.processes import Process, child_process, last_line, server_process
from edge_client.percentiles import percentile
from splitnet.errors import ConfigError, LinkError
from splitnet.groups.group_bundle import load_part
from splitnet.groups.group_manifest import GroupManifest, load_group_manifest, part_file
from splitnet.image_file import IMAGE_SUFFIXES
from splitnet.manifest import FILE_NAME

PATIENCE_S = 120.0  # for a group to answer as it should
POLL_S = 0.1
SETTLE = 5  # answers after a device was killed, that still may wait for it
# A process that has loaded what a device loads, and no bundle.
LIBRARIES = "torch, cv2, numba, edge_client.build, splitnet.groups.group_bundle"
EMPTY = f"import sys, {LIBRARIES}; print('ready', flush=True); sys.stdin.read()"

Line = Mapping[str, Any]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--bundles",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="bundles of groups, of any numbers of parts",
    )
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="images to show, in folders by class for a classification; one for all bundles, or one for each",
    )
    parser.add_argument("--frames", type=int, default=200, help="at each number of devices (%(default)s)")
    parser.add_argument("--fps", type=float, default=10.0, help="of the camera (%(default)s)")
    parser.add_argument("--deadline-ms", type=float, default=500.0, help="from capture to answer (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="kill no devices: only what a whole group takes")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each bundle and each number of devices that are lost, and what joining costs."""
    if options.frames < 1 or options.fps <= 0:
        raise ConfigError("--frames and --fps are positive")
    if len(options.images) not in (1, len(options.bundles)):
        raise ConfigError("give --images once, or once for each of --bundles")
    images = [*options.images] * (len(options.bundles) if len(options.images) == 1 else 1)
    manifests = [load_group_manifest(folder) for folder in options.bundles]
    cores = shared_out(available_cores(), max(1, len(available_cores()) - 1))
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        empty_mb = _empty_mb(cores)
        for number, (bundle, manifest, given) in enumerate(zip(options.bundles, manifests, images, strict=True)):
            place = Path(folder) / str(number)
            place.mkdir()
            shown = _shown(place / "shown", given, options.frames)
            rows += _measure(bundle, manifest, shown, place, cores, empty_mb, options)
    return {
        "fps": options.fps,
        "deadline_ms": options.deadline_ms,
        "device_cores": len(cores.load),
        "empty_process_mb": round(empty_mb, 1),
        "rows": rows,
        "joins": [join_cost(devices) for devices in (2, 4, 8)],
    }


BENCHMARK = Benchmark(
    "group-devices", "groups of devices as real processes: costs, latency, lost devices", _add_arguments, run
)


def _shown(folder: Path, images: Path, limit: int) -> Path:
    """Copy images side by side, those of each class in turn; returns the folder. Names begin with the class."""
    folder.mkdir()
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    by_folder: dict[str, list[Path]] = {}
    for path in found:
        by_folder.setdefault(path.parent.name, []).append(path)
    turns = [path for row in zip(*by_folder.values(), strict=False) for path in row]
    if not turns:
        raise ConfigError(f"{images} holds no images")
    for number, path in enumerate(turns[:limit]):
        shutil.copy(path, folder / f"{number:05d}-{path.parent.name}{path.suffix.lower()}")
    return folder


def _measure(
    bundle: Path,
    manifest: GroupManifest,
    shown: Path,
    folder: Path,
    cores: Cores,
    empty_mb: float,
    options: Namespace,
) -> Iterator[dict[str, object]]:
    """Yield a row for each number of devices that are lost."""
    fixed = _fixed(bundle, manifest)
    with ExitStack() as stack:
        with on_cores(cores.server):
            server = stack.enter_context(server_process(bundle, folder / "server.log", "--no-tune", "--threads", "1"))
        port = _free_port()
        devices: list[Process] = []
        for part in range(1, manifest.parts + 1):
            with on_cores(cores.load):
                devices.append(_start(stack, bundle, manifest, part, server.address, port, shown, folder, options))
        everyone = list(range(1, manifest.parts + 1))
        peak_mb: dict[int, float] = {}
        for lost in range(1 if options.keep else manifest.parts):
            alive = everyone[: manifest.parts - lost]
            _await(folder, devices, alive, 1)
            begin = _count(folder, 1) + (SETTLE if lost else 0)
            lines = _await_lines(folder, devices, begin, options.frames)
            peak_mb |= {part: _peak_mb(devices[part - 1].pid) for part in alive}
            own = [_lines(folder, part)[-len(lines) :] for part in alive]
            yield {**fixed, "lost": lost, **figures(lines, own, everyone), **_memory(peak_mb, empty_mb)}
            if lost + 1 < manifest.parts:
                devices[alive[-1] - 1].kill()


def _fixed(bundle: Path, manifest: GroupManifest) -> dict[str, object]:
    """Return what is known of the parts without running them: the largest of each figure."""
    parts = [load_part(bundle, number, manifest.parts) for number in range(1, manifest.parts + 1)]
    weights = [sum(one.numel() for one in spec.make().state_dict().values()) for spec in manifest.networks]
    side = manifest.input_size
    sizes = [_size(bundle / FILE_NAME) + _size(bundle / part_file(part)) for part in range(1, manifest.parts + 1)]
    return {
        "task": manifest.task,
        "method": f"group {manifest.name}",
        "devices": manifest.parts,
        "parameters_per_device": max(weights),
        "mmacs_per_device": round(max(one.encoder.mmacs(1, side, side) for one in parts), 2),
        "bytes_on_disk": max(sizes),
    }


def figures(owner: Sequence[Line], devices: Sequence[Sequence[Line]], parts: Sequence[int]) -> dict[str, object]:
    """Return what the lines of the owner, and of all devices that live, say of so many frames."""
    sent = [sum(line["bytes"] for line in lines) / max(1, len(lines)) for lines in devices]
    encodes = [line["encode_ms"] for lines in devices for line in lines]
    return {
        "frames": len(owner),
        "accuracy": _accuracy(owner),
        "bytes_sent": round(sum(sent), 1),
        "bytes_sent_per_device": round(max(sent), 1),
        "encode_ms_p50": round(percentile(encodes, 50), 2),
        "latency_ms": round(percentile([line["end_to_end_ms"] for line in owner], 50), 2),
        "latency_ms_p95": round(percentile([line["end_to_end_ms"] for line in owner], 95), 2),
        "late": sum(line["late"] for line in owner),
        "parts_used_mean": round(sum(len(line["parts"]) for line in owner) / max(1, len(owner)), 3),
        "parts": len(parts),
    }


def _accuracy(lines: Sequence[Line]) -> float | None:
    """Return the share of frames whose class is found, in percent; None if their names say no class that is found."""
    named = [Path(line["file"]).stem.partition("-")[2] for line in lines]
    said = [
        max(line["detections"], key=lambda one: one["score"])["label"] if line["detections"] else "" for line in lines
    ]
    if not set(named) & set(said):
        return None
    return round(100 * sum(a == b for a, b in zip(named, said, strict=True)) / len(lines), 2)


def _memory(peak_mb: Mapping[int, float], empty_mb: float) -> dict[str, object]:
    most = max(peak_mb.values())
    return {"memory_mb": round(most, 1), "memory_over_empty_mb": round(most - empty_mb, 1)}


def _start(
    stack: ExitStack,
    bundle: Path,
    manifest: GroupManifest,
    part: int,
    server: str,
    port: int,
    shown: Path,
    folder: Path,
    options: Namespace,
) -> Process:
    place = ["--group", "measured", "--part", f"{part}/{manifest.parts}", "--device-id", f"measured-{part}"]
    to = ["--server", server, "--bundle", str(bundle.resolve()), "--no-status", "--out", str(folder / f"{part}.jsonl")]
    rest = ["--deadline-ms", f"{options.deadline_ms:g}", "--quality", str(manifest.qualities // 2)]
    listen = ["--group-listen", f"127.0.0.1:{port}", "--fps", f"{options.fps:g}", "--loop"]
    source = ["--source", str(shown), *listen] if part == 1 else ["--source", f"group://127.0.0.1:{port}"]
    log = stack.enter_context((folder / f"{part}.log").open("w", encoding="utf-8"))
    process = stack.enter_context(child_process(["edge_client", "run", *place, *to, *rest, *source], log, log))
    _await(folder, [process], [part], part)
    return process


def _await(folder: Path, devices: Sequence[Process], parts: Sequence[int], reader: int) -> None:
    """Wait until the latest answer of a device had these parts at least. Raises LinkError."""
    until = time.monotonic() + PATIENCE_S
    while not (lines := _lines(folder, reader)) or not set(parts) <= set(lines[-1]["parts"]):
        if time.monotonic() > until or devices[0].poll() is not None:
            raise LinkError(
                f"the group does not answer with parts {list(parts)}: {last_line(folder / f'{reader}.log')}"
            )
        time.sleep(POLL_S)


def _await_lines(folder: Path, devices: Sequence[Process], begin: int, frames: int) -> list[Line]:
    """Return so many lines of the owner from a number on, once they are there. Raises LinkError."""
    at, seen = time.monotonic(), 0
    while len(lines := _lines(folder, 1)) < begin + frames:
        if len(lines) > seen:
            at, seen = time.monotonic(), len(lines)
        if time.monotonic() - at > PATIENCE_S or devices[0].poll() is not None:
            raise LinkError(f"the group's owner answers no more: {last_line(folder / '1.log')}")
        time.sleep(POLL_S)
    return lines[begin : begin + frames]


def _count(folder: Path, part: int) -> int:
    return len(_lines(folder, part))


def _lines(folder: Path, part: int) -> list[Line]:
    path = folder / f"{part}.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _empty_mb(cores: Cores) -> float:
    """Return the peak memory of a process that has loaded the same libraries and does nothing."""
    with (
        on_cores(cores.load),
        subprocess.Popen([sys.executable, "-c", EMPTY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        return _peak_mb(process.pid)


def _peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process. Raises LinkError if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration) as error:
        raise LinkError("a device has ended too early") from error


def _size(path: Path) -> int:
    return path.stat().st_size


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
