"""What becomes of a camera's frames when parts of a cluster die, and how fast replicas follow the load.

Real processes on loopback: a daemon, a Ray of its own, one camera that sends at a steady pace.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from benchmarks.harness.processes import ServerProcess, server_process
from benchmarks.serving.cluster_processes import HEAD, REPLICA, below, until, until_ready
from benchmarks.serving.load import Load, Tally, run_load
from splitnet.messages import Frame

BEFORE_S, AFTER_S = 5.0, 15.0  # of a fault
SETTLED_S = 3.0  # of the load, before what counts; and after a replica has started
FPS, DEADLINE_MS = 10.0, 500
FULL_FPS, FULL_DEVICES, FULL_S = 60.0, 20, 25.0  # more than one replica computes
CALM_S = 90.0  # within which a replica that is not needed must go

Row = dict[str, object]


def faults(bundle: Path, log: Path, digest: str, frames: Sequence[Frame]) -> list[Row]:
    """Return a row for each part that dies: what was lost, and for how long frames were lost or late."""
    parts: list[tuple[str, str, Callable[[psutil.Process], None]]] = [
        ("a replica is killed", REPLICA, psutil.Process.kill),
        ("a replica halts", REPLICA, lambda one: one.send_signal(signal.SIGSTOP)),
        ("the head is killed", HEAD, psutil.Process.kill),
    ]
    rows: list[Row] = []
    with server_process(bundle, log, "--threads", "1", "--drain-grace-s", "1", "--cluster") as server:
        for name, part, strike in parts:
            until_ready(server, 2)
            (tally,), at = asyncio.run(_struck(server, digest, frames, part, strike))
            rows.append({"fault": name, **recovery(tally, at)})
            for one in below(server, part):
                if one.status() == psutil.STATUS_STOPPED:
                    one.kill()  # Ray has given it up, and cannot end it
    return rows


async def _struck(
    server: ServerProcess, digest: str, frames: Sequence[Frame], part: str, strike: Callable[[psutil.Process], None]
) -> tuple[list[Tally], float]:
    """Return what became of a camera's frames, and when the fault came."""
    load = Load(1, FPS, DEADLINE_MS, BEFORE_S + AFTER_S)
    running = asyncio.create_task(run_load(server.address, digest, frames, load))
    await asyncio.sleep(SETTLED_S + BEFORE_S)
    at = time.monotonic()
    strike(below(server, part)[0])
    return await running, at


def recovery(tally: Tally, at: float) -> Row:
    """Return how many frames were lost and how many late after a fault, and when the last of them was sent.

    at: when it came, of time.monotonic. Frames that were under way then count, too.
    """
    answered = dict(zip(tally.answered_at_s, tally.latencies_ms, strict=True))
    after = [due for due in tally.due_at_s if due >= at - DEADLINE_MS / 1000]
    lost = [due for due in after if due not in answered]
    late = [due for due in after if answered.get(due, 0.0) > DEADLINE_MS]
    last = max([*lost, *late], default=at)
    return {
        "sent": len(after),
        "lost": len(lost),
        "late": len(late),
        "back_after_s": round(max(0.0, last - at), 2),
        "longest_answer_ms": round(max((answered[due] for due in after if due in answered), default=0.0), 1),
    }


def scaling(bundle: Path, log: Path, digest: str, frames: Sequence[Frame]) -> Row:
    """Return when a second replica has come, and when it went again: seconds from the load's begin, and from its end.

    The daemon may use one or two, and gets more frames than one computes.
    """
    options = ["--cluster", "--cluster-replicas", "1", "--cluster-max-replicas", "2"]
    with server_process(bundle, log, "--threads", "1", "--drain-grace-s", "1", *options) as server:
        until_ready(server, 1)
        grown_s = asyncio.run(_grown(server, digest, frames))
        ended = time.monotonic()
        until(lambda: len(below(server, REPLICA)) == 1, CALM_S)
        shrunk_s = time.monotonic() - ended
    return {"second_replica_after_s": round(grown_s, 1), "gone_after_s": round(shrunk_s, 1)}


async def _grown(server: ServerProcess, digest: str, frames: Sequence[Frame]) -> float:
    load = Load(FULL_DEVICES, FULL_FPS, DEADLINE_MS, FULL_S)
    begun = time.monotonic()
    running = asyncio.create_task(run_load(server.address, digest, frames, load))
    await asyncio.to_thread(until, lambda: len(below(server, REPLICA)) == 2, CALM_S)
    grown_s = time.monotonic() - begun
    await running
    return grown_s
