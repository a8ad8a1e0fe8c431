"""What the serve benchmark does to a server: rising loads, many sessions, a device that floods, single calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.cores import Cores, on_cores
from benchmarks.load import Device, one_at_a_time, run_devices, run_load
from benchmarks.serve_bench import BareModel, Bench, batch_sizes, loaded, mean_size, serving
from benchmarks.serve_figures import summary
from benchmarks.usage import thinned, watched
from splitnet.messages import InferRequest
from splitnet.wire import infer_request_to_proto

SESSION_LOADS = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
IN_TIME = 0.99  # of the frames, for a rate to be one that is carried
EQUALS = 10  # devices beside the one that floods
EQUALS_LOAD = 0.8  # share of the limit that they send together
FLOODING = 10  # times the rate of each of them

Rows = list[dict[str, object]]
Say = Callable[[str], None]  # takes what is done next


def sweep(bench: Bench, bare: BareModel, limit: float, loads: Sequence[float], say: Say) -> Rows:
    """Put every load on a server with batching and on one without, each between two looks at the limit."""
    rows: Rows = []
    before = bare.frames_per_s()
    for name, size in (("batching", bench.max_batch_size), ("batching off", 1)):
        for share in loads:
            say(f"{name}, load {share:g}")
            figures = _under(bench, share * limit, size)
            after = bare.frames_per_s()
            near = (before + after) / 2
            goodput = float(str(figures["goodput_per_s"]))
            rows.append({"server": name, "load": share, "share_of_bare": goodput / near, **figures})
            rows[-1]["bare_frames_per_s"] = near
            before = after
    return rows


def _under(bench: Bench, frames_per_s: float, max_batch_size: int) -> dict[str, object]:
    load = bench.load(frames_per_s)
    tallies, usage, sizes = loaded(bench, load, max_batch_size)
    computed = sum(size * count for size, count in sizes.items())
    return {
        **summary(tallies, load),
        "cores": usage.cores,
        "cpu_ms_per_frame": 1000 * usage.cpu_s / computed if computed else None,
        "memory_mb_end": usage.memory_mb[-1][1],
        "batch_size_mean": mean_size(sizes),
        "batch_sizes": sizes,
    }


def sessions(bench: Bench, say: Say) -> dict[str, object]:
    """Find the highest rate that many sessions can have: the server on all cores, the devices on the same ones."""
    every = tuple(sorted({*bench.cores.server, *bench.cores.load}))
    bench = replace(bench, threads=len(every), cores=Cores(every, every))
    say(f"{bench.devices} sessions")
    bare = BareModel(bench)
    limit = bare.frames_per_s()
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with serving(bench, log) as server, watched(server.process.pid) as usage, on_cores(every):
            for share in SESSION_LOADS:
                load = bench.load(share * limit)
                tallies = asyncio.run(run_load(server.address, bench.digest, bench.frames, load))
                rows.append({"sessions": bench.devices, "load": share, **summary(tallies, load)})
                if float(str(rows[-1]["in_time"] or 0.0)) >= IN_TIME:
                    break
        sizes = batch_sizes(log)
    return {
        "sessions_cores": len(every),
        "sessions_bare_frames_per_s": limit,
        "sessions": rows,
        "sessions_batch_sizes": sizes,
        "sessions_memory": memory_rows(usage.memory_mb),
    }


def flooding(bench: Bench, limit: float, say: Say) -> Rows:
    """Let one device send many times what each of the others sends, so that all together are too much."""
    say("a device that floods")
    equal = replace(bench.load(EQUALS_LOAD * limit), devices=EQUALS)
    flood = replace(equal, devices=1, frames_per_s=FLOODING * equal.frames_per_s / EQUALS)
    devices = [Device(number, bench.frames, equal) for number in range(EQUALS)]
    devices.append(Device(EQUALS, bench.frames, flood))
    with tempfile.TemporaryDirectory() as folder, serving(bench, Path(folder) / "server.log") as server:
        *others, flooder = asyncio.run(run_devices(server.address, bench.digest, devices))
    return [
        {"who": "the others", "devices": EQUALS, **summary(others, equal)},
        {"who": "the one that floods", "devices": 1, **summary([flooder], flood)},
    ]


def single_calls(bench: Bench, say: Say) -> float:
    """Return frames a second of unary calls, one after another."""
    say("single calls")
    requests = [infer_request_to_proto(InferRequest(bench.digest, one)).SerializeToString() for one in bench.frames]
    with tempfile.TemporaryDirectory() as folder, serving(bench, Path(folder) / "server.log") as server:
        return asyncio.run(one_at_a_time(server.address, requests, bench.seconds))


def memory_rows(series: Sequence[tuple[float, float]]) -> Rows:
    """Return memory over time as rows."""
    return [{"second": round(second, 1), "memory_mb": round(memory, 1)} for second, memory in thinned(series)]
