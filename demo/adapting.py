"""The demo's second part: the client adapts while its link is squeezed and its processor loaded."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.processes import Process, ServerProcess, address_of, child_process
from benchmarks.harness.run_trace import DETECTED, FrameRecord, link_beside, read_run
from demo.client import POLL_S, ClientFiles, end_client, wait_for_frames
from demo.ordeal import FREE_MBPS, Ordeal, Phase
from splitnet.errors import LinkError, SplitError

FPS = 10.0
DELAY_MS = 5.0  # of the emulated link in each direction
RELAY_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Relay:
    """A running relay between client and server. address: HOST:PORT."""

    address: str
    process: Process

    def set_rate(self, mbps: float) -> None:
        """Let it carry so much from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{mbps:g}\n")
        self.process.stdin.flush()


@contextmanager
def relay_to(server: str, log: Path) -> Iterator[Relay]:
    """Run a relay to a server until the block ends. Raises LinkError if it does not start."""
    command = [
        "benchmarks.harness.delay_relay",
        "--to",
        server,
        "--delay-ms",
        f"{DELAY_MS:g}",
        "--mbps",
        f"{FREE_MBPS:g}",
    ]
    pipe = subprocess.PIPE
    with log.open("w", encoding="utf-8") as stderr, child_process(command, pipe, stderr, stdin=pipe) as process:
        yield Relay(address_of(process, "relay", log, RELAY_PATIENCE_S), process)


def adapting_command(server: str, source: str, bundle: Path, ordeal: Ordeal, files: ClientFiles) -> list[str]:
    """Return what a user would type after `python -m` for this part; only features, so that the width is seen."""
    return [
        *("edge_client", "run", "--server", server, "--source", source, "--bundle", str(bundle.resolve())),
        *("--mode", "split", "--deadline-ms", str(ordeal.deadline_ms), "--fps", f"{FPS:g}", "--loop"),
        *("--trace-out", str(files.trace), "--device-id", "demo", "--whole-frames"),
    ]


def run_ordeal(server: ServerProcess, source: str, bundle: Path, ordeal: Ordeal, files: ClientFiles) -> bool:
    """Run the client through all phases; returns False if Ctrl+C ended them early.

    Raises SplitError if the client fails, LinkError if the server dies under it.
    """
    with relay_to(server.address, files.folder / "relay.log") as relay:
        command = adapting_command(relay.address, source, bundle, ordeal, files)
        with child_process(command, stdout=subprocess.DEVNULL) as client:
            try:
                wait_for_frames(client, files.trace)
                for phase in ordeal.phases:
                    _hold(phase, relay, client, server)
            except KeyboardInterrupt:
                end_client(client)
                return False
            end_client(client)
    link_beside(files.trace).write_text(ordeal.link_csv(start_s(read_run(files.trace))), encoding="utf-8")
    return True


def start_s(records: Sequence[FrameRecord]) -> float:
    """Return when the first phase has begun: as soon as the first frame's fate was known."""
    return records[0].time_s + (records[0].total_ms or 0.0) / 1000


def phase_rows(records: Sequence[FrameRecord], ordeal: Ordeal) -> list[dict[str, object]]:
    """Return a row for each phase: what was chosen mostly, and what came of it. Numbers are medians or shares."""
    begin_s = start_s(records)
    rows = []
    for index, phase in enumerate(ordeal.phases):
        own = [record for record in records if ordeal.phase_at(record.time_s - begin_s) == index]
        rows.append({"phase": phase.name, "link Mbps": phase.mbps, **_row(own)})
    return rows


def _row(records: Sequence[FrameRecord]) -> dict[str, object]:
    found = [record for record in records if record.outcome in DETECTED and record.total_ms is not None]
    points = Counter(record.point for record in found if record.point is not None)
    sizes = [record.payload_bytes / 1000 for record in found]
    times = [record.total_ms for record in found if record.total_ms is not None]
    in_time = sum(record.in_time for record in records)
    return {
        "mostly": points.most_common(1)[0][0] if points else "-",
        "widths": _span([int(point[1 : point.index(" ")]) for point in points]),
        "KB": round(statistics.median(sizes), 2) if sizes else "-",
        "end-to-end ms": round(statistics.median(times)) if times else "-",
        "in time %": round(100 * in_time / len(records)) if records else "-",
    }


def _span(values: Sequence[int]) -> str:
    if not values:
        return "-"
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}-{max(values)}"


def _hold(phase: Phase, relay: Relay, client: Process, server: ServerProcess) -> None:
    """Keep up the conditions of a phase for its time."""
    relay.set_rate(phase.mbps)
    until = time.monotonic() + phase.seconds
    with ExitStack() as competing:
        if phase.load:
            command = [
                "benchmarks.harness.cpu_load",
                "--processes",
                str(os.cpu_count() or 1),
                "--schedule",
                f"0:{phase.load}",
            ]
            competing.enter_context(child_process(command))
        while time.monotonic() < until:
            if client.poll() is not None:
                raise SplitError(f"the client failed (exit code {client.returncode}); what it said stands above")
            if not server.alive:
                raise LinkError(f"the server died (exit code {server.process.returncode}); its log says why")
            time.sleep(POLL_S)
