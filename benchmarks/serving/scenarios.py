"""Scenarios of the serve benchmark beside rising loads: little, many sessions, a flood, single calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness.cores import Cores, on_cores
from benchmarks.serving.awake import kept_awake
from benchmarks.serving.bench import BareModel, Bench, batch_sizes, serving
from benchmarks.serving.figures import against_bare, summary
from benchmarks.serving.load import Device, one_at_a_time, run_devices, run_load
from benchmarks.serving.rounds import Rows, Say
from benchmarks.serving.usage import thinned, watched
from splitnet.messages import InferRequest
from splitnet.wire.sessions import infer_request_to_proto

MODERATE = 0.5  # share of the limit
SESSION_LOADS = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
IN_TIME = 0.99  # of the frames, for a rate to be one that is carried
EQUALS = 10  # devices beside the one that floods
EQUALS_LOAD = 0.8  # share of the limit that they send together
FLOODING = 10  # times the rate of each of them


def overhead(bench: Bench, bare: BareModel, say: Say) -> Rows:
    """Return what a frame takes beside decoding and computation at a moderate load, cores as they are and awake."""
    rows: Rows = []
    for name, awake in (("as they are", ()), ("kept awake", {*bench.cores.server, *bench.cores.load})):
        say(f"a moderate load, cores {name}")
        load = bench.load(MODERATE * bare.frames_per_s())
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(bench, Path(folder) / "server.log") as server,
            kept_awake(awake),
        ):
            tallies = asyncio.run(run_load(server.address, bench.digest, bench.frames, load))
        rows.append({"cores": name, "load": MODERATE, **summary(tallies, load)})
    return rows


def sessions(bench: Bench, say: Say) -> dict[str, object]:
    """Find the highest rate that many sessions can have: the server on all cores, the devices on the same ones."""
    every = tuple(sorted({*bench.cores.server, *bench.cores.load}))
    bench = replace(bench, threads=len(every), cores=Cores(every, every))
    say(f"{bench.devices} sessions")
    bare = BareModel(bench)
    limits = [bare.frames_per_s()]
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with serving(bench, log) as server, watched(server.process.pid) as usage, on_cores(every):
            for share in SESSION_LOADS:
                load = bench.load(share * limits[-1])
                tallies = asyncio.run(run_load(server.address, bench.digest, bench.frames, load))
                figures = summary(tallies, load)
                limits.append(bare.frames_per_s())
                near = against_bare([float(str(figures["goodput_per_s"]))], limits[-2:])
                rows.append({"sessions": bench.devices, "load": share, **near, **figures})
                if float(str(rows[-1]["in_time"] or 0.0)) >= IN_TIME:
                    break
        sizes = batch_sizes(log)
    return {
        "sessions_cores": len(every),
        "sessions": rows,
        "sessions_batch_sizes": sizes,
        "sessions_memory": memory_rows(usage.memory_mb),
    }


def flooding(bench: Bench, bare: BareModel, say: Say) -> Rows:
    """Let one device send many times what each of the others sends, so that all together are too much."""
    say("a device that floods")
    equal = replace(bench.load(EQUALS_LOAD * bare.frames_per_s()), devices=EQUALS)
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
