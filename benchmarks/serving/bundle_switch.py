"""A bundle that is replaced under load: does any frame pay for it?"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness.processes import ServerProcess
from benchmarks.serving.bench import BareModel, Bench, encoded_frames, serving
from benchmarks.serving.figures import phase, refusals
from benchmarks.serving.load import SETTLE_S, Device, Tally, opening_s, run_devices
from benchmarks.serving.rounds import Rows, Say
from benchmarks.serving.scenarios import memory_rows
from benchmarks.serving.usage import watched
from splitnet.errors import LinkError
from splitnet.manifest import load_manifest
from splitnet.messages import Frame

SWITCH_LOAD = 0.25  # share of the limit that each generation of devices sends: at first one, then two
PATIENCE_S = 60.0  # for the new bundle to be loaded and warm
POLL_S = 0.05


@dataclass(frozen=True)
class Switched:
    """What happened, and when, of time.monotonic."""

    old: Sequence[Tally]  # of devices that began before it, and keep the old bundle
    new: Sequence[Tally]  # of those that came after it, with the new one
    begin_s: float  # of the old devices' frames that count
    told_s: float  # when the server was told
    ready_s: float  # when it had the new one


def switching(bench: Bench, images: Path | None, bare: BareModel, say: Say) -> dict[str, object]:
    """Replace the bundle of a server under load, and let devices come that have the new one."""
    say("a bundle replaced under load")
    bench, limit = replace(bench, devices=max(1, bench.devices // 2)), bare.frames_per_s()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served, other = folder / "served", folder / "other"
        shutil.copytree(bench.bundle, served)
        digest = another_version(bench.bundle, other)
        frames = encoded_frames(other, images)
        log = folder / "server.log"
        with serving(bench, log, served) as server, watched(server.process.pid) as usage:
            told = asyncio.run(_switch(bench, server, limit, (served, other), (digest, frames)))
    return {
        "switch_s": told.ready_s - told.told_s,
        "switch_errors": refusals([*told.old, *told.new]).total(),
        "switch": phases(told, bench.deadline_ms),
        "switch_memory": memory_rows(usage.memory_mb),
    }


def another_version(bundle: Path, folder: Path) -> str:
    """Copy a bundle under another name, which makes it another bundle; returns its digest."""
    shutil.copytree(bundle, folder)
    manifest = load_manifest(folder)
    other = replace(manifest, name=f"{manifest.name}-2")
    other.write(folder)
    return other.digest


def phases(switched: Switched, deadline_ms: int) -> Rows:
    """Return what became of the frames before, during and after the switch, and of the new devices' own."""
    moments = (switched.begin_s, switched.told_s, switched.ready_s, float("inf"))
    rows: Rows = [
        phase(name, switched.old, begin, end, deadline_ms)
        for name, begin, end in zip(("before", "during", "after"), moments, moments[1:], strict=False)
    ]
    rows.append(phase("after, new devices", switched.new, 0.0, float("inf"), deadline_ms))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


async def _switch(
    bench: Bench,
    server: ServerProcess,
    limit: float,
    folders: tuple[Path, Path],
    newer: tuple[str, Sequence[Frame]],
) -> Switched:
    served, other = folders
    load = bench.load(SWITCH_LOAD * limit)
    old = [Device(number, bench.frames, replace(load, seconds=2 * bench.seconds)) for number in range(bench.devices)]
    new = [Device(number, newer[1], load) for number in range(bench.devices)]
    begin = time.monotonic() + opening_s(len(old)) + SETTLE_S
    running = asyncio.create_task(run_devices(server.address, bench.digest, old))
    await asyncio.sleep(begin + bench.seconds / 2 - time.monotonic())
    told = time.monotonic()
    served.rename(served.with_name("retired"))
    other.rename(served)
    server.process.send_signal(signal.SIGHUP)
    await _refreshed(served.with_name("server.log"))
    ready = time.monotonic()
    tallies = await run_devices(server.address, newer[0], new)
    return Switched(await running, tallies, begin, told, ready)


async def _refreshed(log: Path) -> None:
    """Wait until a server's log says that it has a new bundle. Raises LinkError."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        entries = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        found = next((entry for entry in entries if entry["event"] == "bundles refreshed"), None)
        if found is not None and not found["refused"] and found["loaded"]:
            return
        if found is not None:
            raise LinkError(f"the server did not take the new bundle: {found}")
        await asyncio.sleep(POLL_S)
    raise LinkError(f"the server has not taken the new bundle within {PATIENCE_S:g} s")
