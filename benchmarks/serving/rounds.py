"""A load on a server in rounds, each between two looks at the limit on the same cores: machines drift."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.serving.bench import BareModel, Bench, batch_sizes, mean_size, serving
from benchmarks.serving.figures import against_bare, summary
from benchmarks.serving.load import Tally, added, run_load
from benchmarks.serving.usage import Usage, watched

ROUNDS = 3

Rows = list[dict[str, object]]
Say = Callable[[str], None]  # takes what is done next


def sweep(bench: Bench, bare: BareModel, loads: Sequence[float], say: Say) -> Rows:
    """Put every load on a server with batching and on one without, each load on a fresh one."""
    rows: Rows = []
    for name, size in (("batching", bench.max_batch_size), ("batching off", 1)):
        for share in loads:
            say(f"{name}, load {share:g}")
            rows.append({"server": name, "load": share, **in_rounds(bench, bare, share, size)})
    return rows


def in_rounds(bench: Bench, bare: BareModel, share: float, max_batch_size: int) -> dict[str, object]:
    """Return the figures of a load, which in every round is a share of what the bare model has just given.

    The server is idle while the bare model has its cores.
    """
    part = replace(bench, seconds=bench.seconds / ROUNDS)
    limits, runs, usages = [bare.frames_per_s()], list[list[Tally]](), list[Usage]()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with serving(bench, log, batch=max_batch_size) as server:
            for _ in range(ROUNDS):
                load = part.load(share * limits[-1])
                with watched(server.process.pid) as usage:
                    runs.append(asyncio.run(run_load(server.address, bench.digest, bench.frames, load)))
                usages.append(usage)
                limits.append(bare.frames_per_s())
        sizes = batch_sizes(log)
    goodputs = [sum(tally.good(bench.deadline_ms) for tally in run) / part.seconds for run in runs]
    devices = [added(tallies) for tallies in zip(*runs, strict=True)]
    whole = bench.load(share * sum(limits[:-1]) / ROUNDS)
    return {**against_bare(goodputs, limits), **summary(devices, whole), **_used(usages, sizes)}


def _used(usages: Sequence[Usage], sizes: dict[int, int]) -> dict[str, object]:
    cpu_s, computed = sum(usage.cpu_s for usage in usages), sum(size * count for size, count in sizes.items())
    return {
        "cores": cpu_s / sum(usage.seconds for usage in usages),
        "cpu_ms_per_frame": 1000 * cpu_s / computed if computed else None,
        "memory_mb_end": usages[-1].memory_mb[-1][1],
        "batch_size_mean": mean_size(sizes),
        "batch_sizes": sizes,
    }
