"""Goodput of a server under load, against the bare batched model, batching off, and one call at a time.

A real `cloud-server` process; simulated devices in this one replay bitstreams of real images over loopback,
open loop: they send when it is time, answered or not. A frame is good if its detections are here by its deadline.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.cores import available_cores, on_cores, shared_out
from benchmarks.harness.drawing import require_matplotlib
from benchmarks.serving.bench import BareModel, Bench, bench_from
from benchmarks.serving.bundle_switch import switching
from benchmarks.serving.figures import verdict
from benchmarks.serving.rounds import sweep
from benchmarks.serving.scenarios import flooding, overhead, sessions, single_calls
from benchmarks.serving.serve_plot import draw_serve
from splitnet.errors import ConfigError
from splitnet.extras import progress_bar
from splitnet.settings import DEFAULT_BUNDLE

if TYPE_CHECKING:
    from tqdm import tqdm

QUICK_LOADS, QUICK_SECONDS, QUICK_DEVICES = "0.5,2", 3.0, 20


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to send; scikit-image's if not given")
    parser.add_argument("--devices", type=int, default=50, help="simulated devices (%(default)s)")
    parser.add_argument("--sessions", type=int, default=200, help="devices to find a frame rate for (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds at each load (%(default)s)")
    parser.add_argument("--loads", default="0.5,0.8,1,1.2,2", help="shares of the bare model's rate (%(default)s)")
    parser.add_argument("--deadline-ms", type=int, default=500, help="from sending to detections (%(default)s)")
    parser.add_argument("--max-batch-size", type=int, default=8, help="largest batch (%(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of a batch, and the server's cores (%(default)s)"
    )
    parser.add_argument("--tuning", type=Path, metavar="FILE", help="what `cloud-server tune` found, for all alike")
    parser.add_argument("--quick", action="store_true", help="a look: a minute and a half, few loads, few devices")


def run(options: Namespace) -> dict[str, object]:
    """Return the limit, a row for every load, and what sessions, flooding and a switch did; draws if --out is given."""
    options = _quick(options) if options.quick else options
    loads = _loads(options)
    if options.out is not None:
        require_matplotlib()
    cores = shared_out(available_cores(), options.threads)
    with on_cores(cores.load), progress_bar(total=2 * len(loads) + 7, unit="run", desc="the limit") as bar:
        result = _measured(bench_from(options, cores), options, loads, _saying(bar))
        bar.update()
    if options.out is not None:
        draw_serve(options.out, result)
    return result


BENCHMARK = Benchmark("serve", "goodput of a server under load", _add_arguments, run)


def _measured(bench: Bench, options: Namespace, loads: list[float], say: Callable[[str], None]) -> dict[str, object]:
    bare = BareModel(bench)
    sizes = bare.sizes()
    rows = sweep(bench, bare, loads, say)
    beside = overhead(bench, bare, say)
    return {
        "devices": bench.devices,
        "deadline_ms": bench.deadline_ms,
        "seconds": bench.seconds,
        "threads": bench.threads,
        "server_cores": len(bench.cores.server),
        "cores_shared_with_load": bench.cores.server == bench.cores.load,
        "tuning": str(bench.tuning),
        "bare_frames_per_s": max(float(str(row["frames_per_s"])) for row in sizes),
        "one_call_at_a_time_frames_per_s": single_calls(bench, say),
        **verdict(rows),
        "overhead_ms_p50_at_moderate_load": beside[0]["overhead_ms_p50"],
        "bare": sizes,
        "loads": rows,
        "overhead": beside,
        "flooding": flooding(bench, bare, say),
        **switching(bench, options.images, bare, say),
        **sessions(replace(bench, devices=options.sessions), say),
    }


def _saying(bar: tqdm[NoReturn]) -> Callable[[str], None]:
    def say(what: str) -> None:
        bar.update()
        bar.set_description_str(what)

    return say


def _quick(options: Namespace) -> Namespace:
    """Return options for a look at it all."""
    smaller = {
        "loads": QUICK_LOADS,
        "seconds": min(options.seconds, QUICK_SECONDS),
        "devices": min(options.devices, QUICK_DEVICES),
    }
    return Namespace(**{**vars(options), **smaller})


def _loads(options: Namespace) -> list[float]:
    """Return the loads. Raises ConfigError if any option is out of range."""
    try:
        loads = [float(word) for word in options.loads.split(",")]
    except ValueError:
        raise ConfigError(f"--loads takes numbers such as 0.5,1,2, not {options.loads!r}") from None
    bounds = (
        ("--devices", options.devices, 1, 2000),
        ("--sessions", options.sessions, 1, 2000),
        ("--seconds", options.seconds, 0.1, 3600),
        ("--deadline-ms", options.deadline_ms, 1, 60_000),
        ("--max-batch-size", options.max_batch_size, 1, 64),
        ("--threads", options.threads, 1, 1024),
        *(("--loads", load, 0.01, 100) for load in loads),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            raise ConfigError(f"{name} takes {low:g} to {high:g}, not {value:g}")
    return loads
