"""The common ground of the serve benchmark's scenarios: frames, the limit, a server with its cores to itself.

The server and the bare model run on the same cores, as many as they have threads, and the simulated devices on the
others. So the limit is what the model alone reaches there, decoding included, and the server's own work (gRPC,
sessions, the queue, hand-overs) counts against the server.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.harness.cores import Cores, on_cores
from benchmarks.harness.images import frames_from
from benchmarks.harness.processes import ServerProcess, server_process
from benchmarks.serving.load import Load
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.tuning import Tuning
from cloud_server.config import ServeConfig
from cloud_server.tunings import Tunings
from splitnet.bundle import load_device, load_server
from splitnet.messages import Frame
from splitnet.operating_point import Codec, Mode, OperatingPoint

IMAGES = 20
START_PATIENCE_S = 300.0  # for a server on a machine that others use
SLICE_S = 2.0  # of a look at the limit between two loads


@dataclass(frozen=True)
class Bench:
    """What is measured, and with what."""

    bundle: Path
    digest: str
    frames: Sequence[Frame]
    devices: int
    deadline_ms: int
    seconds: float
    max_batch_size: int
    tuning: Tuning  # how the model is computed, bare and in the server
    tuning_file: Path | None
    threads: int
    cores: Cores

    @property
    def slice_s(self) -> float:
        """Seconds of a look at the limit."""
        return min(SLICE_S, self.seconds)

    def load(self, frames_per_s: float) -> Load:
        """Return a load of all devices together."""
        return Load(self.devices, frames_per_s, self.deadline_ms, self.seconds)


def bench_from(options: Namespace, cores: Cores) -> Bench:
    """Encode the frames that are sent, and gather the rest. Raises BundleError, ConfigError."""
    return Bench(
        options.bundle,
        load_device(options.bundle).manifest.device_digest,
        encoded_frames(options.bundle, options.images),
        options.devices,
        options.deadline_ms,
        options.seconds,
        options.max_batch_size,
        best_tuning(options, cores),
        options.tuning,
        options.threads,
        cores,
    )


def best_tuning(options: Namespace, cores: Cores) -> Tuning:
    """Return the file's tuning, or what a server on these cores finds fastest by itself. Raises ConfigError."""
    config = ServeConfig(bundle=[options.bundle], device="cpu", threads=options.threads, tuning=options.tuning)
    with on_cores(cores.server):
        return Tunings(config, torch.device("cpu")).of(options.bundle)


def encoded_frames(bundle: Path, images: Path | None) -> list[Frame]:
    """Encode images at a few operating points, as a device would. Raises BundleError, ConfigError."""
    device = load_device(bundle)
    manifest = device.manifest
    points = [(manifest.widths, manifest.qualities // 2), (1, 0), (manifest.widths, manifest.qualities - 1)]
    frames = []
    for image in frames_from(images, IMAGES):
        frame_height, frame_width = image.shape[:2]
        for width, quality in points:
            canvas = manifest.fit(frame_width, frame_height, width).apply(image)
            payload = device.codec.compress(device.encoder.encode(canvas, width, quality), width, quality)
            frames.append(Frame(0, 0, OperatingPoint(Codec.RANS, width, quality), payload, frame_width, frame_height))
    return frames


@dataclass(frozen=True)
class Rate:
    """How fast a model is."""

    frames_per_s: float
    cpu_ms_per_frame: float  # which neighbours on the machine change less


def _speed(rate: Rate) -> float:
    return rate.frames_per_s


class BareModel:
    """The bundle's model in a loop, decoding included: what no server on the same cores exceeds."""

    def __init__(self, bench: Bench) -> None:
        """Load and prepare it."""
        self._bench = bench
        self._model = BundleModel(load_server(bench.bundle), torch.device("cpu"), bench.tuning)
        with self._alone():
            self._model.prepare()
        self.best_size = bench.max_batch_size

    def sizes(self) -> list[dict[str, object]]:
        """Measure every power of two as the batch size by turns, and keep the best for later."""
        sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= self._bench.max_batch_size]
        turns = [self.rate(size) for size in (*sizes, *sizes[::-1])]
        rates = {size: max(turns[at], turns[-1 - at], key=_speed) for at, size in enumerate(sizes)}
        self.best_size = max(rates, key=lambda size: _speed(rates[size]))
        return [{"batch_size": size, **asdict(rate)} for size, rate in rates.items()]

    def frames_per_s(self) -> float:
        """Measure for a moment, with the best batch size."""
        return self.rate(self.best_size).frames_per_s

    def rate(self, size: int) -> Rate:
        """Measure for a moment, with a batch size."""
        frames = self._bench.frames
        batch = [frames[index % len(frames)] for index in range(size)]
        with self._alone():
            self._run(batch)
            start, cpu_start, count = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() < start + self._bench.slice_s:
                self._run(batch)
                count += size
            cpu_s = time.process_time() - cpu_start
            return Rate(count / (time.perf_counter() - start), 1000 * cpu_s / count)

    def _run(self, batch: Sequence[Frame]) -> None:
        self._model.infer(Mode.SPLIT, [self._model.decode(frame) for frame in batch])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Compute on the server's cores, with its threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._bench.threads)
        try:
            with on_cores(self._bench.cores.server):
                yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def serving(bench: Bench, log: Path, bundle: Path | None = None, batch: int | None = None) -> Iterator[ServerProcess]:
    """Run a server on its cores; another bundle or largest batch than the bench's if given. Raises LinkError."""
    options = ["--max-batch-size", str(batch or bench.max_batch_size), "--threads", str(bench.threads)]
    options += ["--device", "cpu", "--max-queue", str(max(64, 2 * bench.devices))]
    many = "10000"  # all devices come from here
    options += ["--max-calls-per-address", many, "--max-calls", many, "--max-connections-per-address", many]
    options += ["--max-calls-per-s", "100000"]
    options += [] if bench.tuning_file is None else ["--tuning", str(bench.tuning_file.resolve())]
    with ExitStack() as stack:
        with on_cores(bench.cores.server):
            process = server_process(bundle or bench.bundle, log, *options, patience_s=START_PATIENCE_S)
            server = stack.enter_context(process)
        yield server


def batch_sizes(log: Path) -> dict[int, int]:
    """Read from a stopped server's log how many batches of each size it has computed."""
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    sizes: dict[str, int] = next((entry["batch_sizes"] for entry in entries if entry["event"] == "stopped"), {})
    return {int(size): count for size, count in sizes.items()}


def mean_size(sizes: dict[int, int]) -> float | None:
    """Return the mean of a distribution of batch sizes, or None of nothing."""
    batches = sum(sizes.values())
    return sum(size * count for size, count in sizes.items()) / batches if batches else None
