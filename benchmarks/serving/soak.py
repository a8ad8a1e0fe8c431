"""A server under steady load for a long time, sessions coming and going: does it stay as it was?

A real `cloud-server` process at a share of what its model can do. Simulated devices stay for a while and are
replaced by others; every third vanishes in mid-stream without a word, as devices do.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import psutil

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.cores import available_cores, on_cores, shared_out
from benchmarks.serving.bench import BareModel, Bench, bench_from, serving
from benchmarks.serving.load import GOLDEN, Device, Load, Tally
from benchmarks.serving.usage import thinned
from splitnet.errors import ConfigError, SplitError
from splitnet.messages import Frame
from splitnet.settings import DEFAULT_BUNDLE

SAMPLE_S = 1.0  # between two looks at the server, or less in a short run
LEAST_SAMPLES = 40
SERIES = 60  # samples that are kept, for a plot
WARM_UP = 5  # the first fifth is the warm-up
VANISHING = 3  # every third session
PAUSE_S = 1.0  # after a session that failed


@dataclass(frozen=True)
class Sample:
    """What the server held at one moment."""

    at_s: float
    memory_mb: float  # resident
    open_files: int
    threads: int


@dataclass(frozen=True)
class Visit:
    """One device's stay. error: why it could not begin or go on; vanished: it left without waiting for answers."""

    tally: Tally
    error: str | None
    vanished: bool


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to send; scikit-image's if not given")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (%(default)s)")
    parser.add_argument("--devices", type=int, default=20, help="sessions at any time (%(default)s)")
    parser.add_argument("--stay-s", type=float, default=20.0, help="mean length of a session (%(default)s)")
    parser.add_argument("--load", type=float, default=0.5, help="share of the bare model's rate (%(default)s)")
    parser.add_argument("--deadline-ms", type=int, default=1000, help="from sending to detections (%(default)s)")
    parser.add_argument("--max-batch-size", type=int, default=8, help="largest batch (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a batch, and the server's cores")
    parser.add_argument("--tuning", type=Path, metavar="FILE", help="what `cloud-server tune` found")


def run(options: Namespace) -> dict[str, object]:
    """Return what became of the frames, and of the server's memory."""
    _check(options)
    seconds = 60.0 * options.minutes
    cores = shared_out(available_cores(), options.threads)
    with on_cores(cores.load):
        bench = bench_from(Namespace(**{**vars(options), "seconds": seconds}), cores)
        frames_per_s = options.load * _capacity(bench)
        samples, visits = _soak(bench, replace(bench.load(frames_per_s), seconds=options.stay_s), seconds)
    settings = {"minutes": options.minutes, "devices": options.devices, "stay_s": options.stay_s, "load": options.load}
    figures = {"frames_per_s": frames_per_s, **outcome(visits, options.deadline_ms), **held(samples)}
    series = [asdict(sample) for sample in thinned(samples, SERIES)]
    return {**settings, "deadline_ms": options.deadline_ms, "threads": options.threads, **figures, "series": series}


BENCHMARK = Benchmark("soak", "a server under steady load for minutes: is its memory flat?", _add_arguments, run)


def outcome(visits: Sequence[Visit], deadline_ms: float) -> dict[str, object]:
    """Return what became of all frames. Those that nobody waited for count as neither answered nor unanswered."""
    refused = sum((visit.tally.refused for visit in visits), Counter[str]())
    answered = sum(len(visit.tally.latencies_ms) for visit in visits)
    good = sum(visit.tally.good(deadline_ms) for visit in visits)
    stayed = [visit.tally for visit in visits if not visit.vanished and visit.error is None]
    return {
        "sessions": len(visits),
        "sessions_vanished": sum(visit.vanished for visit in visits),
        "sent": sum(visit.tally.sent for visit in visits),
        "answered": answered,
        "late": answered - good,
        "shed": refused["RESOURCE_EXHAUSTED"],
        "expired": refused["DEADLINE_EXCEEDED"],
        "unanswered": sum(tally.sent - len(tally.latencies_ms) - tally.refused.total() for tally in stayed),
        "errors": sum(visit.error is not None for visit in visits),
        "first_error": next((visit.error for visit in visits if visit.error is not None), None),
    }


def held(samples: Sequence[Sample]) -> dict[str, object]:
    """Return what the server held after the warm-up and at the end, and by how much its memory grew."""
    before, after = _tenths(samples)
    memory = [median(sample.memory_mb for sample in part) for part in (before, after)]
    return {
        "memory_mb_warm": memory[0],
        "memory_mb_end": memory[1],
        "growth_percent": 100.0 * (memory[1] / memory[0] - 1.0),
        "open_files_warm": median(sample.open_files for sample in before),
        "open_files_end": median(sample.open_files for sample in after),
        "threads_warm": median(sample.threads for sample in before),
        "threads_end": median(sample.threads for sample in after),
    }


def _tenths(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return the tenth of the samples that follows the warm-up, and the last one."""
    warm, tenth = len(samples) // WARM_UP, max(1, len(samples) // 10)
    return samples[warm : warm + tenth], samples[-tenth:]


def _check(options: Namespace) -> None:
    bounds = (
        (options.minutes, 0.01, 1440),
        (options.devices, 1, 2000),
        (options.stay_s, 0.1, 3600),
        (options.load, 0.01, 10),
        (options.deadline_ms, 1, 60_000),
    )
    if not all(low <= value <= high for value, low, high in bounds):
        raise ConfigError(
            "--minutes takes 0.01 to 1440, --devices 1 to 2000, --stay-s 0.1 to 3600, --load 0.01 to 10, "
            "--deadline-ms 1 to 60000"
        )


def _capacity(bench: Bench) -> float:
    """Return the most frames a second that the bare model reaches."""
    model = BareModel(bench)
    return max(model.rate(size).frames_per_s for size in (1, bench.max_batch_size))


def _soak(bench: Bench, load: Load, seconds: float) -> tuple[list[Sample], list[Visit]]:
    """Put a load on a fresh server for so long; load.seconds: how long a device stays."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(bench, Path(folder) / "server.log") as server,
        _sampled(server.process.pid, min(SAMPLE_S, seconds / LEAST_SAMPLES)) as samples,
    ):
        visits = asyncio.run(visiting(server.address, bench.digest, bench.frames, load, seconds))
    return samples, visits


@contextmanager
def _sampled(pid: int, period_s: float) -> Iterator[list[Sample]]:
    """Look at a process now and then during a block."""
    process, ended, samples = psutil.Process(pid), threading.Event(), list[Sample]()
    start = time.monotonic()

    def look() -> None:
        with suppress(psutil.NoSuchProcess):  # devices notice it as well
            while not ended.wait(period_s):
                with process.oneshot():
                    memory_mb = process.memory_info().rss / 1e6
                    facts = (memory_mb, process.num_fds(), process.num_threads())
                samples.append(Sample(time.monotonic() - start, *facts))

    looking = threading.Thread(target=look, name="soak", daemon=True)
    looking.start()
    try:
        yield samples
    finally:
        ended.set()
        looking.join()


async def visiting(server: str, digest: str, frames: Sequence[Frame], load: Load, seconds: float) -> list[Visit]:
    """Keep a server visited for so many seconds; returns every visit."""
    end = time.monotonic() + seconds
    places = [_place(place, server, digest, frames, load, end) for place in range(load.devices)]
    return list(itertools.chain.from_iterable(await asyncio.gather(*places)))


async def _place(place: int, server: str, digest: str, frames: Sequence[Frame], load: Load, end: float) -> list[Visit]:
    """Let one device after another take a place; stays are half to one and a half times the mean."""
    visits: list[Visit] = []
    turn = place  # so that the places do not all lose their devices at the same turn
    while (left_s := end - time.monotonic()) > 0.0:
        stay_s = min(left_s, load.seconds * (0.5 + (turn + place) * GOLDEN % 1.0))
        device = Device(place + load.devices * turn, frames, replace(load, seconds=stay_s))
        visits.append(await _visit(device, server, digest, stay_s / 2 if turn % VANISHING == 0 else None))
        if visits[-1].error is not None:
            await asyncio.sleep(min(left_s, PAUSE_S))
        turn += 1
    return visits


async def _visit(device: Device, server: str, digest: str, vanish_after_s: float | None) -> Visit:
    vanished = vanish_after_s is not None
    try:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(device.run(server, digest, time.monotonic()), vanish_after_s)
    except SplitError as error:
        return Visit(device.tally, str(error), vanished)
    return Visit(device.tally, None, vanished)
