"""A daemon that computes itself against the same daemon with replicas on Ray Serve, and what replicas would carry.

Real processes on loopback. Latency: one camera, one frame at a time. What a frame costs the front daemon meanwhile is
the processor time of its process and its connector, entropy decoding included; what that takes stands beside it.
Goodput: more frames than can be computed.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.drawing import require_matplotlib
from benchmarks.harness.processes import ServerProcess, server_process
from benchmarks.serving.bench import encoded_frames
from benchmarks.serving.cluster_faults import faults, scaling
from benchmarks.serving.cluster_plot import draw_cluster
from benchmarks.serving.cluster_processes import CONNECTOR, below, until_ready
from benchmarks.serving.cluster_simulation import MAX_BATCH, Costs, carried
from benchmarks.serving.figures import summary
from benchmarks.serving.load import Load, run_load
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.tuning import Tuning
from edge_client.transport.session import open_session
from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.messages import Frame, FrameDetections, FrameError, OpenSession
from splitnet.operating_point import Mode
from splitnet.settings import DEFAULT_BUNDLE

REPLICAS = (1, 2, 4, 8, 16, 32, 64)  # simulated
CAMERAS = 10_000  # simulated, at most
DEVICES = 20
DEADLINE_MS = 500
ROUNDS = 9
WARM_UP_FRAMES = 5

Row = dict[str, object]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to send; scikit-image's if not given")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2], metavar="N", help="to measure (%(default)s)")
    parser.add_argument("--frames", type=int, default=200, help="for the latency (%(default)s)")
    parser.add_argument("--rate", type=float, default=60.0, help="frames a second for the goodput (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for the goodput (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each engine, the constants that follow, and what replicas carry; draws if --out is given."""
    if find_spec("ray") is None:
        raise ConfigError('this needs Ray: pip install ".[cluster]"')
    if options.out is not None:
        require_matplotlib()
    manifest = load_device(options.bundle).manifest
    frames = encoded_frames(options.bundle, options.images)
    counts = progress([0, *options.replicas], unit="engine")
    rows = [_engine(options, frames, manifest.device_digest, replicas) for replicas in counts]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        struck = faults(options.bundle, log, manifest.device_digest, frames)
        scaled = scaling(options.bundle, log, manifest.device_digest, frames)
    costs = costs_of(rows, batch_seconds(options.bundle))
    simulated = [{"replicas": n, "cameras": carried(n, costs, CAMERAS)} for n in progress(REPLICAS, unit="simulation")]
    result: dict[str, object] = {
        "bundle": f"{manifest.name} {manifest.digest[:12]}",
        "engines": rows,
        "faults": struck,
        "scaling": scaled,
        "costs": asdict(costs),
        "pays_from_replicas": pays_from(rows),
        "front_saturates_fps": round(1 / costs.front_s, 1),
        "simulated": simulated,
    }
    if options.out is not None:
        draw_cluster(options.out, result)
    return result


BENCHMARK = Benchmark("cluster", "a daemon that computes itself against replicas on Ray Serve", _add_arguments, run)


def costs_of(rows: Sequence[Row], batch_s: Mapping[int, float]) -> Costs:
    """Return the constants of the simulation.

    rows: of the daemon alone and of one replica. batch_s: what batches of two sizes take a replica.
    """
    alone, first = rows[0], rows[1]
    (small, small_s), (large, large_s) = sorted(batch_s.items())
    per_frame_s = (large_s - small_s) / (large - small)
    added_s = max(0.0, float(str(first["latency_ms_p50"])) - float(str(alone["latency_ms_p50"]))) / 1000
    front_s = float(str(first["front_cpu_ms"])) / 1000
    return Costs(front_s, max(0.0, small_s - small * per_frame_s), per_frame_s, added_s)


def batch_seconds(bundle: Path) -> dict[int, float]:
    """Return what the smallest and the largest batch take on one core, medians."""
    model = BundleModel(load_server(bundle), torch.device("cpu"), Tuning(threads=1, onnxruntime=True))
    model.prepare()
    return {size: _batch_s(model, size) for size in (1, MAX_BATCH)}


def _batch_s(model: BundleModel, size: int) -> float:
    batch = [model.blank(Mode.SPLIT)] * size
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        model.infer(Mode.SPLIT, batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def pays_from(rows: Sequence[Row]) -> int | None:
    """Return the fewest replicas that were measured with more goodput than the daemon alone; None if none has."""
    alone = float(str(rows[0]["goodput_per_s"]))
    return next((int(str(row["replicas"])) for row in rows[1:] if float(str(row["goodput_per_s"])) > alone), None)


def _engine(options: Namespace, frames: Sequence[Frame], digest: str, replicas: int) -> Row:
    extra = ["--cluster", "--cluster-replicas", str(replicas)] if replicas else []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = ["--threads", "1", "--drain-grace-s", "1", *extra]
        with server_process(options.bundle, log, *command) as server:
            until_ready(server, replicas)
            with _front_cpu(server) as spent:
                latencies, decodes, infers = asyncio.run(_one_by_one(server.address, digest, frames, options.frames))
            load = Load(DEVICES, options.rate, DEADLINE_MS, options.seconds)
            found = summary(asyncio.run(run_load(server.address, digest, frames, load)), load)
    return {
        "replicas": replicas,
        "decode_ms_p50": round(statistics.median(decodes), 2),
        "latency_ms_p50": round(statistics.median(latencies), 2),
        "latency_ms_p99": round(sorted(latencies)[int(0.99 * (len(latencies) - 1))], 2),
        "infer_ms_p50": round(statistics.median(infers), 2),
        "goodput_per_s": found["goodput_per_s"],
        "front_cpu_ms": round(1000 * spent[0] / (options.frames + WARM_UP_FRAMES), 2),
    }


async def _one_by_one(
    server: str, digest: str, frames: Sequence[Frame], count: int
) -> tuple[list[float], list[float], list[float]]:
    """Return the latency, decoding and computing time of frames that are sent one after another, in ms."""
    latencies, decodes, infers = [], [], []
    async with open_session(server, OpenSession("one by one", digest), timeout_s=30.0) as session:
        replies = session.replies()
        for number in range(count + WARM_UP_FRAMES):
            start = time.perf_counter()
            session.send(replace(frames[number % len(frames)], frame_id=number))
            reply = await anext(replies)
            while not isinstance(reply, FrameDetections | FrameError):
                reply = await anext(replies)
            if isinstance(reply, FrameDetections) and number >= WARM_UP_FRAMES:
                latencies.append(1000 * (time.perf_counter() - start))
                decodes.append(reply.timing.decode_ms)
                infers.append(reply.timing.infer_ms)
    return latencies, decodes, infers


@contextmanager
def _front_cpu(server: ServerProcess) -> Iterator[list[float]]:
    """Yield a list whose one entry is the processor time of the daemon and its connector during the block, seconds."""
    processes = [psutil.Process(server.process.pid), *below(server, CONNECTOR)]
    before, spent = _cpu_s(processes), [0.0]
    yield spent
    spent[0] = _cpu_s(processes) - before


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    times = [one.cpu_times() for one in processes]
    return sum(one.user + one.system for one in times)
