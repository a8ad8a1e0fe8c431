"""Attacks from one address while an honest device works: does it keep its deadlines, and the server its memory?

A fresh `cloud-server` for each attack, whose log goes into a pipe that nobody reads. The honest device comes over IPv6,
the attacker over IPv4: two addresses of one machine. The attacker has the last core, the others the first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.cores import available_cores, on_cores
from benchmarks.harness.processes import Process, address_of, child_process
from benchmarks.serving.attacks import ATTACKS, Attack, summary
from benchmarks.serving.bench import encoded_frames
from benchmarks.serving.load import Device, Load, Tally, run_devices
from edge_client.percentiles import percentile
from splitnet.bundle import load_device
from splitnet.errors import ConfigError, LinkError
from splitnet.extras import progress
from splitnet.messages import Frame
from splitnet.settings import DEFAULT_BUNDLE

FRAMES_PER_S, DEADLINE_MS = 5.0, 400
GRACE_S = 2.0
SAMPLE_S = 0.1
SETTLED_S = 12.0  # after an attack: what is not finished in time is given back by then
PATIENCE_S = 300.0
STOP_PATIENCE_S = 20.0
NOTHING = "nothing"

logger = logging.getLogger(__name__)


def _add_arguments(parser: ArgumentParser) -> None:
    names = ", ".join(attack.__name__ for attack in ATTACKS)
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack (%(default)s)")
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help=f"only these of: {names}")
    parser.add_argument("--settle-s", type=float, default=SETTLED_S, help="until memory is looked at (%(default)s)")
    parser.add_argument("--deadline-ms", type=int, default=DEADLINE_MS, help="of the honest device (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return what became of the honest device's frames and of the server, with each attack and without one."""
    chosen = [attack for attack in ATTACKS if options.attacks is None or attack.__name__ in options.attacks]
    if not chosen or not 0.1 <= options.seconds <= 600:
        raise ConfigError("--attacks names some of the list in --help, --seconds takes 0.1 to 600")
    frames, digest = encoded_frames(options.bundle, None), load_device(options.bundle).manifest.device_digest
    rows = []
    for attack in progress((None, *chosen), desc="attacks"):
        rows.append(_row(options, attack, frames, digest))
        logger.info("%s", rows[-1])
    settings = {"seconds": options.seconds, "frames_per_s": FRAMES_PER_S, "deadline_ms": options.deadline_ms}
    return {**settings, "attacks": rows}


BENCHMARK = Benchmark("attack", "attacks on a server while an honest device works", _add_arguments, run)


def _row(options: Namespace, attack: Attack | None, frames: list[Frame], digest: str) -> dict[str, object]:
    cores = available_cores()
    load = Load(1, FRAMES_PER_S, options.deadline_ms, options.seconds)
    with on_cores(cores[:1]), _server(options.bundle) as (address, process):
        asyncio.run(run_devices(f"[::1]:{address}", digest, [Device(0, frames, replace(load, seconds=1.0))]))  # warm
        memory = psutil.Process(process.pid).memory_info
        before, samples = memory().rss / 1e6, list[float]()
        with _attacking(attack, f"127.0.0.1:{address}", digest, options.seconds + 4.0, cores[-1:]):
            with _sampled(process.pid, samples):
                (tally,) = asyncio.run(run_devices(f"[::1]:{address}", digest, [Device(0, frames, load)]))
            after = before
            if attack is None:
                stopped_s = _stopped_s(process)
        if attack is not None:
            time.sleep(options.settle_s)
            after = memory().rss / 1e6
            with _attacking(attack, f"127.0.0.1:{address}", digest, 30.0, cores[-1:]):
                time.sleep(1.0)
                stopped_s = _stopped_s(process)
    name = NOTHING if attack is None else summary(attack)
    return {"attack": name, **_honest(tally, options.deadline_ms), **_held(before, samples, after), "stop_s": stopped_s}


def _honest(tally: Tally, deadline_ms: float) -> dict[str, object]:
    latencies = tally.latencies_ms or [float("inf")]
    return {
        "sent": tally.sent,
        "in_time_share": tally.good(deadline_ms) / max(1, tally.sent),
        "p50_ms": round(median(latencies), 1) if tally.latencies_ms else None,
        "p95_ms": round(percentile(latencies, 95), 1) if tally.latencies_ms else None,
        "refused": tally.refused.total(),
    }


def _held(before: float, samples: list[float], after: float) -> dict[str, object]:
    growth = max(samples, default=before) - before
    return {"memory_mb": round(before), "growth_mb": round(growth, 1), "left_mb": round(after - before, 1)}


@contextmanager
def _server(bundle: Path) -> Iterator[tuple[int, Process]]:
    """Yield the port and the process of a server for both families of addresses, whose log nobody reads."""
    command = ["cloud_server", "serve", "--bundle", str(bundle.resolve()), "--listen", "[::]:0", "--no-tune"]
    command += ["--threads", "1", "--device", "cpu", "--drain-grace-s", str(GRACE_S), "--log-level", "debug"]
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as folder, os.fdopen(writing, "w") as log:
        nothing = Path(folder) / "log"
        nothing.touch()
        with child_process(command, subprocess.PIPE, log) as process:
            port = address_of(process, "server", nothing, PATIENCE_S).rpartition(":")[2]
            yield int(port), process
    os.close(reading)


@contextmanager
def _attacking(attack: Attack | None, server: str, digest: str, seconds: float, cores: Sequence[int]) -> Iterator[None]:
    """Let an attack run beside this block, on its own cores."""
    if attack is None:
        yield
        return
    command = ["benchmarks.serving.attacks", attack.__name__, server, digest, str(seconds)]
    with ExitStack() as stack:
        with on_cores(cores):
            attacker = stack.enter_context(child_process(command, subprocess.PIPE, subprocess.DEVNULL))
        assert attacker.stdout is not None
        attacker.stdout.readline()  # it has begun
        yield
        if attacker.poll():
            raise LinkError(f"{attack.__name__} has failed, so nothing was measured: see `{' '.join(command)}`")


@contextmanager
def _sampled(pid: int, samples: list[float]) -> Iterator[None]:
    """Look at a process's memory now and then during a block."""
    process, ended = psutil.Process(pid), threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_S):
            samples.append(process.memory_info().rss / 1e6)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def _stopped_s(process: Process) -> float | None:
    """Return how long a server takes to end after SIGTERM; None if it does not."""
    begin = time.monotonic()
    process.terminate()
    try:
        process.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return None
    return round(time.monotonic() - begin, 2)
