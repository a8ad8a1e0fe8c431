"""The adaptation benchmark on real TCP: the two commands in namespaces of their own, a shaped link between them.

For each run the client starts on the open link. At its first answer the link begins to follow the trace, `WARM_UP_S`
before the part that counts, so that what the client has learnt of the open link is forgotten by then.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.adaptation.effective_accuracy import FrameBank
from benchmarks.adaptation.figures import run_figures
from benchmarks.adaptation.frame_bank import frame_bank
from benchmarks.adaptation.namespaces import EDGE_ADDRESS, NamespacePair, available, namespace_pair
from benchmarks.adaptation.shaped_link import QUEUE_MS, SLOT_S, shaped
from benchmarks.adaptation.simulated_trace import simulated
from benchmarks.harness.processes import Process, address_of, child_process, last_line, server_process
from benchmarks.harness.run_trace import FrameRecord, link_beside, parse_run, read_run
from benchmarks.harness.traces import Trace, part, read_trace
from splitnet.errors import ConfigError, LinkError, SplitError
from splitnet.image_file import images_in
from splitnet.manifest import FILE_NAME as MANIFEST
from splitnet.manifest import load_manifest
from splitnet.operating_point import parse_point

CLIENT_MODES = {"adaptive": "auto", "split": "split", "image": "image", "local": "local"}  # by names of policies
WARM_UP_S = 3.0
START_PATIENCE_S = 120.0  # for a client that has to measure its device first
END_PATIENCE_S = 30.0
POLL_S = 0.01


@dataclass(frozen=True)
class RealSettings:
    """What all runs have in common."""

    bundle: Path
    images: Path
    seconds: float = 60.0  # that count
    fps: float = 10.0
    delay_ms: float = 15.0  # of the link, in each direction
    queue_ms: float = QUEUE_MS
    load: str | None = None  # competing processes: "SECOND:DUTY, ...", from the trace's start on
    server_threads: int = 1

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        if self.seconds <= 0 or self.fps <= 0 or self.delay_ms < 0 or self.queue_ms <= 0:
            raise ConfigError("seconds, frames a second and the queue must be positive, the delay not negative")


@dataclass(frozen=True)
class RealRun:
    """One run. trace: the part that counts, with `WARM_UP_S` before it. policy: a mode, or a fixed point."""

    trace: Trace
    deadline_ms: float
    policy: str

    @property
    def name(self) -> str:
        """Its name as a file's."""
        return f"{self.trace.name}-{self.deadline_ms:g}ms-{self.policy.replace(' ', '-')}"

    @property
    def head(self) -> dict[str, object]:
        """What its row begins with."""
        return {"trace": self.trace.name, "deadline_ms": self.deadline_ms, "policy": self.policy}

    @property
    def words(self) -> tuple[str, str]:
        """The policy as the client is told it. Raises ConfigError if no client can be told."""
        if self.policy in CLIENT_MODES:
            return "--mode", CLIENT_MODES[self.policy]
        parse_point(self.policy)
        return "--schedule", self.policy


def add_real_arguments(parser: ArgumentParser) -> None:
    """Add the options that only real links have."""
    parser.add_argument("--real", action="store_true", help="real processes and TCP in network namespaces (needs root)")
    parser.add_argument("--queue-ms", type=float, default=QUEUE_MS, help="in front of the real link (%(default)s)")
    parser.add_argument("--load", metavar="S:DUTY,...", help="compete for the CPU: busy shares by second of the trace")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep rows and runs of real links here, for `plot`")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for every trace, deadline and policy, like the simulated ones."""
    settings = RealSettings(
        options.bundle, options.images, options.seconds, options.fps, options.rtt_ms / 2, options.queue_ms, options.load
    )
    named = [parse_point(name) for name in options.policies if name not in CLIENT_MODES]
    bank = frame_bank(options.bundle, options.images, options.annotations, named=named)
    length_s = WARM_UP_S + options.seconds
    traces = [part(read_trace(path), options.start, length_s) for path in options.traces or ()]
    runs = [
        RealRun(trace, deadline_ms, policy)
        for trace in traces
        for deadline_ms in options.deadlines
        for policy in options.policies
    ]
    if not runs:
        raise ConfigError("--real needs --traces, --deadlines and --policies")
    rows = list(run_real(runs, settings, bank, options.keep))
    manifest = load_manifest(options.bundle)
    return {"bundle": f"{manifest.name} {manifest.digest[:12]}", "pictures": bank.images, "runs": rows}


def run_real(
    runs: Iterable[RealRun], settings: RealSettings, bank: FrameBank, keep: Path | None = None
) -> Iterator[dict[str, object]]:
    """Yield a row for each run, as soon as it is over. Raises ConfigError where there can be no namespaces.

    bank: of the folder's images, in the order of their names. keep: the folder for the rows and the runs' traces;
    what the link could carry goes beside each, and `plot` finds it there.
    """
    if (reason := available()) is not None:
        raise ConfigError(f"{reason}; without --real the same is simulated")
    if (shown := count_images(settings.images)) != bank.images:
        raise ConfigError(f"{settings.images} holds {shown} images, {bank.images} of them labelled: all must be")
    with edge_node(settings) as edge:
        for run in runs:
            records, began_s = _one(edge, run, settings)
            counted = [r for r in records if 0 <= r.time_s - began_s - WARM_UP_S < settings.seconds]
            row = {**run.head, **real_figures(counted, bank, settings.seconds)}
            if keep is not None:
                _keep(edge.folder / "run.jsonl", keep / f"{run.name}.jsonl", run.trace, began_s)
                with (keep / "rows.jsonl").open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(row) + "\n")
            yield row


def count_images(folder: Path) -> int:
    """Return how many images the client will show before it starts over."""
    return len(images_in(folder))


def real_figures(records: Sequence[FrameRecord], bank: FrameBank, seconds: float) -> dict[str, object]:
    """Return the figures of a real run, which are those of a simulated one with the same frames."""
    logs = [simulated(record) for record in records]
    outcomes = dict(Counter(record.outcome for record in records))
    return {**run_figures(logs, bank, seconds), "outcomes": outcomes} if logs else {"outcomes": outcomes}


@dataclass(frozen=True)
class EdgeNode:
    """A server behind a delay. address: HOST:PORT, in the device's namespace."""

    pair: NamespacePair
    address: str
    folder: Path  # for logs and traces
    alive: Process
    bundle: Path  # of the device


@contextmanager
def edge_node(settings: RealSettings) -> Iterator[EdgeNode]:
    """Run a server and a relay in a namespace of their own while the block lasts."""
    with ExitStack() as stack:
        pair = stack.enter_context(namespace_pair())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slimsplit-adapt-")))
        options = ("--log-level", "warning", "--threads", str(settings.server_threads))
        server = stack.enter_context(
            server_process(settings.bundle, folder / "server.log", *options, namespace=pair.edge)
        )
        relay = ["benchmarks.harness.delay_relay", "--listen", f"{EDGE_ADDRESS}:0", "--to", server.address]
        log = folder / "relay.log"
        delaying = stack.enter_context(
            child_process(
                [*relay, "--delay-ms", f"{settings.delay_ms:g}"],
                subprocess.PIPE,
                stack.enter_context(log.open("w", encoding="utf-8")),
                namespace=pair.edge,
            )
        )
        device = without_streams(settings.bundle, folder / "device")
        yield EdgeNode(pair, address_of(delaying, "relay", log, START_PATIENCE_S), folder, server.process, device)


def without_streams(bundle: Path, copy: Path) -> Path:
    """Return a copy of a bundle that knows of no video codec: single labelled images do not say what a stream gives."""
    copy.mkdir()
    for file in bundle.resolve().iterdir():
        if file.name != MANIFEST:
            (copy / file.name).symlink_to(file)
    values = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    (copy / MANIFEST).write_text(json.dumps({**values, "stream_points": []}), encoding="utf-8")
    return copy


def _one(edge: EdgeNode, run: RealRun, settings: RealSettings) -> tuple[list[FrameRecord], float]:
    """Run a client; returns its frames, and the second of its time at which the link began to follow the trace."""
    trace_path, log = edge.folder / "run.jsonl", edge.folder / "client.log"
    trace_path.unlink(missing_ok=True)
    command = client_command(edge.address, run, replace(settings, bundle=edge.bundle), trace_path)
    with (
        log.open("w", encoding="utf-8") as stderr,
        child_process(command, subprocess.DEVNULL, stderr, namespace=edge.pair.device) as client,
    ):
        watch = _Watch(edge, client, log)
        watch.until_first_frame(trace_path)
        with shaped(edge.pair, run.trace, queue_ms=settings.queue_ms) as link_began, _load(settings):
            client_began = watch.began_at(trace_path, link_began + WARM_UP_S)
            watch.sleep(link_began + WARM_UP_S + settings.seconds + run.deadline_ms / 1000)
        client.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # then the end of its block ends it
            client.wait(END_PATIENCE_S)
    return read_run(trace_path), link_began - client_began


def client_command(server: str, run: RealRun, settings: RealSettings, trace_out: Path) -> list[str]:
    """Return what a user would type after `python -m` for this run."""
    return [
        *("edge_client", "run", "--server", server, "--bundle", str(settings.bundle.resolve()), *run.words),
        *("--source", str(settings.images.resolve()), "--fps", f"{settings.fps:g}", "--loop"),
        *("--deadline-ms", f"{run.deadline_ms:g}", "--trace-out", str(trace_out), "--device-id", "adapt"),
        "--whole-frames",  # as the simulation has them
    ]


@contextmanager
def _load(settings: RealSettings) -> Iterator[None]:
    if settings.load is None:
        yield
        return
    with child_process(["benchmarks.harness.cpu_load", "--schedule", settings.load]):
        yield


@dataclass(frozen=True)
class _Watch:
    """Waits while client and server live."""

    edge: EdgeNode
    client: Process
    log: Path

    def until_first_frame(self, trace: Path) -> None:
        """Return when the client has written its first line. Raises LinkError if it does not."""
        until = time.monotonic() + START_PATIENCE_S
        while not (trace.exists() and trace.stat().st_size):
            if time.monotonic() > until:
                raise LinkError(f"the client had no frame done within {START_PATIENCE_S:g} s: {last_line(self.log)}")
            self.sleep(time.monotonic() + POLL_S)

    def began_at(self, trace: Path, until: float) -> float:
        """Watch the trace grow, and return by the monotonic clock when the client's time began.

        A line is written when its frame is done, so none can be seen before; the one seen soonest is closest.
        """
        soonest, seen = float("inf"), 0
        while time.monotonic() < until:
            self.sleep(time.monotonic() + POLL_S)
            now, lines = time.monotonic(), trace.read_text(encoding="utf-8").splitlines(keepends=True)
            new = parse_run(line for line in lines[seen:] if line.endswith("\n"))
            seen += len(new)
            ends = [record.time_s + record.total_ms / 1000 for record in new if record.total_ms is not None]
            soonest = min([soonest, *(now - end for end in ends)])
        if soonest == float("inf"):
            raise LinkError(f"the client has detected nothing while it warmed up: {last_line(self.log)}")
        return soonest

    def sleep(self, until: float) -> None:
        """Wait until a moment. Raises SplitError if one of the processes ends before."""
        while (left_s := until - time.monotonic()) > 0:
            if self.client.poll() is not None:
                raise SplitError(f"the client ended (exit code {self.client.returncode}): {last_line(self.log)}")
            if self.edge.alive.poll() is not None:
                raise LinkError(f"the server died: {last_line(self.edge.folder / 'server.log')}")
            time.sleep(min(left_s, 0.1))


def _keep(run: Path, kept: Path, link: Trace, began_s: float) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(run.read_bytes())
    link_beside(kept).write_text(link_csv(link, began_s), encoding="utf-8")


def link_csv(link: Trace, began_s: float) -> str:
    """Return what a link could carry as lines of "seconds,Mbps" of a run's time, nothing before it began."""
    slots = np.arange(0.0, link.duration_s, SLOT_S)
    lines = [f"{began_s + slot:.3f},{link.capacity_bps(slot, slot + SLOT_S) / 1e6:.4f}\n" for slot in slots]
    return "".join(["0,0\n", *lines])
