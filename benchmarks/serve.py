"""Goodput of a server under load, against the bare batched model, batching off, and one call at a time.

A real `cloud-server` process; simulated devices in this one replay bitstreams of real pictures over loopback,
open loop: they send when it is time, answered or not. A frame is good if its detections are here by its deadline.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.benchmark import Benchmark
from benchmarks.load import Load, Tally, one_at_a_time, run_load
from benchmarks.photographs import frames_from
from benchmarks.processes import server_process
from cloud_server.detection import BundleModel
from cloud_server.tuning import Tuning
from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.messages import Frame, InferRequest
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE
from splitnet.wire import infer_request_to_proto

SAMPLE_S = 0.5  # between two looks at the server's processor and memory


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to send; scikit-image's if not given")
    parser.add_argument("--devices", type=int, default=50, help="simulated devices (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds at each load (%(default)s)")
    parser.add_argument("--loads", default="0.5,1,2", help="shares of the bare model's throughput (%(default)s)")
    parser.add_argument("--deadline-ms", type=int, default=1000, help="from sending to detections (%(default)s)")
    parser.add_argument("--max-batch-size", type=int, default=8, help="largest batch (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a batch (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the limit, and a row for every load of the server with batching and without."""
    loads = _loads(options)
    frames = _frames(options.bundle, options.images)
    digest = load_device(options.bundle).manifest.digest
    bare = _bare(options, frames)
    limit = max(float(str(row["frames_per_s"])) for row in bare)
    rows = [
        {"server": name, "load": share, **_serve(options, batch, digest, frames, share * limit)}
        for name, batch in (("batching", options.max_batch_size), ("batching off", 1))
        for share in loads
    ]
    return {
        "devices": options.devices,
        "deadline_ms": options.deadline_ms,
        "seconds": options.seconds,
        "threads": options.threads,
        "bare_frames_per_s": limit,
        "one_call_at_a_time_frames_per_s": _single_calls(options, digest, frames),
        "bare": bare,
        "loads": rows,
    }


BENCHMARK = Benchmark("serve", "goodput of a server under load", _add_arguments, run)


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 if all are equal, 1/n if one has it all. 1 if nobody has anything."""
    square = sum(share**2 for share in shares)
    return sum(shares) ** 2 / (len(shares) * square) if square else 1.0


def summary(tallies: Sequence[Tally], load: Load) -> dict[str, object]:
    """Return the figures of one run over all its devices."""
    good = [tally.good(load.deadline_ms) for tally in tallies]
    latencies = [one for tally in tallies for one in tally.latencies_ms]
    overheads = [one for tally in tallies for one in tally.overheads_ms]
    sent = sum(tally.sent for tally in tallies)
    refused = sum((tally.refused for tally in tallies), Counter[str]())
    return {
        "sent_per_s": sent / load.seconds,
        "goodput_per_s": sum(good) / load.seconds,
        "latency_ms_p50": _percentile(latencies, 50),
        "latency_ms_p99": _percentile(latencies, 99),
        "overhead_ms_p50": _percentile(overheads, 50),
        "late": len(latencies) - sum(good),
        "shed": refused["RESOURCE_EXHAUSTED"],
        "expired": refused["DEADLINE_EXCEEDED"],
        "unanswered": sent - len(latencies) - refused.total(),
        "jain": jain(good),
    }


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _loads(options: Namespace) -> list[float]:
    try:
        loads = [float(word) for word in options.loads.split(",")]
    except ValueError:
        raise ConfigError(f"--loads takes numbers such as 0.5,1,2, not {options.loads!r}") from None
    bounds = (
        (options.devices, 1, 2000),
        (options.seconds, 0.1, 3600),
        (options.deadline_ms, 1, 60_000),
        *((load, 0.01, 100) for load in loads),
    )
    if not all(low <= value <= high for value, low, high in bounds):
        raise ConfigError(
            "--devices takes 1 to 2000, --seconds 0.1 to 3600, --deadline-ms 1 to 60000, loads 0.01 to 100"
        )
    return loads


def _frames(bundle: Path, images: Path | None) -> list[Frame]:
    """Encode pictures at a few operating points, as a device would."""
    device = load_device(bundle)
    manifest = device.manifest
    points = [(manifest.widths, manifest.qualities // 2), (1, 0), (manifest.widths, manifest.qualities - 1)]
    frames = []
    for picture in frames_from(images, 20):
        height, width = picture.shape[:2]
        canvas = Letterbox.fit(width, height, manifest.input_size).apply(picture)
        for members, quality in points:
            payload = device.codec.compress(device.encoder.encode(canvas, members, quality), members, quality)
            frames.append(Frame(0, 0, OperatingPoint(Codec.RANS, members, quality), payload, width, height))
    return frames


def _bare(options: Namespace, frames: Sequence[Frame]) -> list[dict[str, object]]:
    """Run the model alone, decoding included, at every power of two as the batch size."""
    before = torch.get_num_threads()
    model = BundleModel(load_server(options.bundle), torch.device("cpu"), Tuning(threads=options.threads))
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= options.max_batch_size]
    try:
        model.prepare()
        return [_bare_row(model, frames, size, options.seconds / len(sizes)) for size in sizes]
    finally:
        torch.set_num_threads(before)


def _bare_row(model: BundleModel, frames: Sequence[Frame], size: int, seconds: float) -> dict[str, object]:
    batch = [frames[index % len(frames)] for index in range(size)]
    model.infer(Mode.SPLIT, [model.decode(frame) for frame in batch])
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        model.infer(Mode.SPLIT, [model.decode(frame) for frame in batch])
        count += size
    return {"batch_size": size, "frames_per_s": count / (time.perf_counter() - start)}


def _serve(
    options: Namespace, max_batch_size: int, digest: str, frames: Sequence[Frame], frames_per_s: float
) -> dict[str, object]:
    """Put one load on a fresh server."""
    load = Load(options.devices, frames_per_s, options.deadline_ms, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        settings = ("--max-batch-size", str(max_batch_size), "--threads", str(options.threads))
        queue = ("--max-queue", str(max(64, 2 * options.devices)))
        with (
            server_process(options.bundle, log, *settings, *queue) as server,
            _observed(server.process.pid) as observed,
        ):
            tallies = asyncio.run(run_load(server.address, digest, frames, load))
        return {**summary(tallies, load), **observed, **_batches(log)}


def _single_calls(options: Namespace, digest: str, frames: Sequence[Frame]) -> float:
    requests = [infer_request_to_proto(InferRequest(digest, frame)).SerializeToString() for frame in frames]
    with tempfile.TemporaryDirectory() as folder:
        settings = ("--threads", str(options.threads), "--log-level", "warning")
        with server_process(options.bundle, Path(folder) / "server.log", *settings) as server:
            return asyncio.run(one_at_a_time(server.address, requests, options.seconds))


@contextmanager
def _observed(pid: int) -> Iterator[dict[str, object]]:
    """Fill a dictionary with what a process used in the block: cores, and memory at half time and at the end."""
    figures: dict[str, object] = {}
    process, ended, memory_mb = psutil.Process(pid), threading.Event(), [0.0]

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            memory_mb.append(process.memory_info().rss / 1e6)

    watching = threading.Thread(target=watch, daemon=True)
    before, start = process.cpu_times(), time.monotonic()
    watching.start()
    yield figures
    ended.set()
    watching.join()
    after = process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    figures["cores"] = used_s / (time.monotonic() - start)
    figures["memory_mb_half"] = memory_mb[len(memory_mb) // 2]
    figures["memory_mb_end"] = memory_mb[-1]


def _batches(log: Path) -> dict[str, object]:
    """Read from a stopped server's log how large its batches were."""
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    sizes: dict[str, int] = next((entry["batch_sizes"] for entry in entries if entry["event"] == "stopped"), {})
    batches = sum(sizes.values())
    mean = sum(int(size) * count for size, count in sizes.items()) / batches if batches else None
    return {"batch_size_mean": mean}
