"""Is every request of Frigate answered in time, while the link to the server dies and comes back?

A double of Frigate's plug-in asks `edge-client frigate`, whose server is behind a relay. The link falls silent, comes
back, is refused, and comes back again.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.frigate_plugin import FrigatePlugin
from benchmarks.harness.images import filling, frames_from
from benchmarks.harness.processes import Process, address_of, child_process, server_process
from edge_client.percentiles import percentile
from splitnet.errors import ConfigError
from splitnet.settings import DEFAULT_BUNDLE

MBPS, DELAY_MS = 20.0, 5.0  # of the link while it works, upward; in each direction
PACE_S = 0.05  # between the beginnings of requests
WARM_UP = 30  # requests
PHASES = ("working", "silent", "back", "refused", "back again")
SHARES = (0.3, 0.2, 0.15, 0.15, 0.2)  # of the requests
IMAGES = 50


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images; scikit-image's if not given")
    parser.add_argument("--requests", type=int, default=1000, help="in all phases together (%(default)s)")
    parser.add_argument("--side", type=int, default=416, help="pixels of a tensor's side (%(default)s)")
    parser.add_argument("--timeout-ms", type=int, default=200, help="how long the plug-in waits (%(default)s)")


@dataclass
class _Phase:
    """The requests of one phase."""

    name: str
    took_ms: list[float] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)
    by: list[str] = field(default_factory=list)

    def row(self, timeout_ms: float) -> dict[str, object]:
        """Return what became of them."""
        return {
            "phase": self.name,
            "requests": len(self.took_ms),
            "in_time": sum(one <= timeout_ms for one in self.took_ms),
            **{f"by_{who}": self.by.count(who) for who in ("server", "device", "rescue", "nobody")},
            "ms_p50": round(percentile(self.took_ms, 50), 1),
            "ms_p99": round(percentile(self.took_ms, 99), 1),
            "ms_max": round(max(self.took_ms), 1),
        }


def run(options: Namespace) -> dict[str, object]:
    """Return how many requests were answered in time, by whom, and what the endpoint added."""
    if options.requests < 20 or not 32 <= options.side <= 1024:
        raise ConfigError("--requests takes 20 or more, --side 32 to 1024")
    tensors = [_tensor(image, options.side) for image in frames_from(options.images, IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        scene = _Scene(options, Path(folder))
        phases, restarts = scene.play(tensors)
        summary = json.loads(scene.summary.read_text())
    took_ms = [one for phase in phases for one in phase.took_ms]
    own_ms = [one for phase in phases for one in phase.own_ms]
    return {
        "bundle": options.bundle.name,
        "side": options.side,
        "tensor_bytes": int(tensors[0].nbytes),
        "mbps": MBPS,
        "delay_ms": DELAY_MS,
        "timeout_ms": options.timeout_ms,
        "requests": len(took_ms),
        "in_time": sum(one <= options.timeout_ms for one in took_ms),
        "restarts": restarts,
        "own_ms_p50": round(percentile(own_ms, 50), 2),
        "own_ms_p99": round(percentile(own_ms, 99), 2),
        "kilobytes_mean": summary["total"]["kilobytes_mean"],
        "points": [
            {name: one[name] for name in ("point", "frames", "kilobytes_mean", "encode_ms_p50", "end_to_end_ms_p50")}
            for one in summary["points"]
        ],
        "phases": [phase.row(options.timeout_ms) for phase in phases],
    }


BENCHMARK = Benchmark("frigate", "answers to Frigate while the link dies", _add_arguments, run)


def _tensor(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(filling(image, (side, side)), cv2.COLOR_BGR2RGB)[None], np.uint8)


class _Scene:
    """A server, a link that can be cut, a device, and Frigate in front of it."""

    def __init__(self, options: Namespace, folder: Path) -> None:
        self.summary = folder / "summary.json"
        self._options, self._folder = options, folder

    def play(self, tensors: Sequence[NDArray[np.uint8]]) -> tuple[list[_Phase], int]:
        """Return every phase, and how often the plug-in had to begin anew."""
        phases = [_Phase(name) for name in PHASES]
        counts = [max(1, round(self._options.requests * share)) for share in SHARES]
        with ExitStack() as stack:
            server = stack.enter_context(server_process(self._options.bundle, self._folder / "server.log")).address
            relay = stack.enter_context(self._relay(server, "127.0.0.1:0"))
            plugin = stack.enter_context(self._plugin(relay.address))
            self._ask(plugin, tensors, WARM_UP, _Phase("warm-up"))
            for phase, count in zip(phases[:3], counts[:3], strict=True):
                relay.set_rate(0.0 if phase.name == "silent" else MBPS)
                self._ask(plugin, tensors, count, phase)
            relay.process.kill()
            self._ask(plugin, tensors, counts[3], phases[3])
            stack.enter_context(self._relay(server, relay.address))
            self._ask(plugin, tensors, counts[4], phases[4])
            return phases, plugin.restarts

    @contextmanager
    def _relay(self, server: str, listen: str) -> Iterator[_Relay]:
        command = ["benchmarks.harness.delay_relay", "--listen", listen, "--to", server]
        command += ["--delay-ms", str(DELAY_MS), "--mbps", str(MBPS)]
        log = self._folder / "relay.log"
        with (
            log.open("w") as stderr,
            child_process(command, subprocess.PIPE, stderr, stdin=subprocess.PIPE) as process,
        ):
            yield _Relay(address_of(process, "relay", log, 30), process)

    @contextmanager
    def _plugin(self, server: str) -> Iterator[FrigatePlugin]:
        options = self._options
        command = ["edge_client", "frigate", "--server", server, "--listen", "tcp://127.0.0.1:0"]
        command += ["--bundle", str(options.bundle.resolve()), "--timeout-ms", str(options.timeout_ms)]
        command += ["--json-summary", str(self.summary)]
        log = self._folder / "client.log"
        with log.open("w") as stderr, child_process(command, subprocess.PIPE, stderr) as process:
            plugin = FrigatePlugin(_address(process, log), options.timeout_ms)
            try:
                yield plugin
            finally:
                plugin.close()

    def _ask(self, plugin: FrigatePlugin, tensors: Sequence[NDArray[Any]], count: int, phase: _Phase) -> None:
        due = time.monotonic()
        for index in range(count):
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + PACE_S, time.monotonic())
            _, took_ms = plugin.detect(tensors[index % len(tensors)])
            phase.took_ms.append(took_ms)
            phase.by.append(str(plugin.about.get("answered_by")))
            if pipeline_ms := plugin.about.get("pipeline_ms"):
                phase.own_ms.append(took_ms - pipeline_ms)


def _address(process: Process, log: Path) -> str:
    """Return where the endpoint listens; the lines before that one say what runs."""
    assert process.stdout is not None
    process.stdout.readline()
    return address_of(process, "endpoint", log, 120)


@dataclass(frozen=True)
class _Relay:
    address: str
    process: Process

    def set_rate(self, mbps: float) -> None:
        """Let the link carry so much from now on; 0: nothing."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{mbps}\n")
        self.process.stdin.flush()
