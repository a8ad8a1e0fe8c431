"""What a model costs the frames that run beside its download: deadlines met, over a thin link, on real TCP.

A device in a network namespace of its own streams over a link of so many bits a second in both directions. Again and
again it is given a model of so many bytes, which it fetches, tries and keeps; the model computes the same as the one
before, so that all that differs is the transfer and the switch. It is compared with the seconds before each offer.
"""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.adaptation.namespaces import EDGE_ADDRESS, INTERFACE, NamespacePair, available, namespace_pair, run_tool
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.processes import address_of, child_process, last_line, server_process
from benchmarks.harness.run_trace import FrameRecord, read_run
from cloud_server.delivery.fleet_store import FleetStore
from cloud_server.delivery.keys import KeyFolder
from cloud_server.delivery.repository import Repository
from cloud_server.delivery.rollout import Rollout
from cloud_server.delivery.signing import keep, sign_bundle
from splitnet.errors import ConfigError, LinkError
from splitnet.manifest import load_manifest
from splitnet.settings import DEFAULT_BUNDLE
from splitnet.updates.artefact import FOR_TORCH, Artefact
from splitnet.updates.delivery import Phase

DEVICE = "benchmark"
PATIENCE_S = 300.0
POLL_S = 0.2
MET = ("answered", "local")
QUEUE_MS = 250


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="what the camera sees")
    parser.add_argument("--kbps", type=float, default=1000.0, help="of the link, each way (%(default)s)")
    parser.add_argument("--kilobytes", type=float, default=200.0, help="of a model on its way (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="models (%(default)s)")
    parser.add_argument("--pause-s", type=float, default=20.0, help="without one, before each (%(default)s)")
    parser.add_argument("--deadline-ms", type=float, default=300.0, help="of a frame (%(default)s)")
    parser.add_argument("--fps", type=float, default=10.0, help="frames a second (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the share of deadlines met without and with a download. Raises ConfigError where there is no namespace."""
    if (reason := available()) is not None:
        raise ConfigError(reason)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slimsplit-delivery-")))
        pair = stack.enter_context(namespace_pair())
        site = _Site(folder, options)
        log = folder / "server.log"
        served = ("--no-tune", "--threads", "1", "--updates", str(site.repository.path), "--log-level", "warning")
        server = stack.enter_context(server_process(folder / "bundles", log, *served, namespace=pair.edge))
        relay = ["benchmarks.harness.delay_relay", "--listen", f"{EDGE_ADDRESS}:0", "--to", server.address]
        relay_log = folder / "relay.log"
        delaying = stack.enter_context(
            child_process([*relay, "--delay-ms", "15"], subprocess.PIPE, relay_log.open("w"), namespace=pair.edge)
        )
        address = address_of(delaying, "relay", relay_log, PATIENCE_S)
        client_log = stack.enter_context((folder / "client.log").open("w"))
        command = site.client(address, options)
        client = stack.enter_context(child_process(command, subprocess.DEVNULL, client_log, namespace=pair.device))
        site.wait(lambda: site.lines() > 0, client, "the first frame")
        _shape(pair, options.kbps)
        rounds = [site.round(client, options.pause_s) for _ in range(options.rounds)]
        client.terminate()
        client.wait(30)
        return _figures(read_run(site.trace), rounds, options, site.manifest_name)


BENCHMARK = Benchmark("delivery", "a model's download beside running frames, on a thin link", _add_arguments, run)


@dataclass(frozen=True)
class _Round:
    """Numbers of lines of the run's trace."""

    before: int
    offered: int
    installed: int
    on_trial: int
    committed: int
    download_s: float


class _Site:
    """Server folders, and what is signed in them."""

    def __init__(self, folder: Path, options: Namespace) -> None:
        self.trace, self._folder = folder / "run.jsonl", folder
        self.repository, self._keys = Repository(folder / "updates"), KeyFolder(folder / "keys")
        self._store = FleetStore(self.repository.path)
        manifest = load_manifest(options.bundle)
        self.manifest_name = f"{manifest.name} {manifest.digest[:12]}"
        self.pin = self.repository.make(self._keys, _now())
        for name in ("first", "second"):  # the same weights under two digests
            place = folder / "bundles" / name
            place.mkdir(parents=True)
            for path in options.bundle.iterdir():
                (place / path.name).symlink_to(path.resolve())
            (place / "manifest.json").unlink()
            replace(manifest, name=name).write(place)
            sign_bundle(place, self.repository, self._keys, _now())
        self._padding = int(options.kilobytes * 1000)
        self._version = 2

    def client(self, address: str, options: Namespace) -> list[str]:
        """Return what a user would type."""
        return [
            *("edge_client", "run", "--server", address, "--source", str(options.images.resolve()), "--loop"),
            *("--fps", f"{options.fps:g}", "--deadline-ms", f"{options.deadline_ms:g}", "--device-id", DEVICE),
            *("--trust", self.pin, "--models", str(self._folder / "models"), "--trial-s", "5"),
            *("--trace-out", str(self.trace)),
        ]

    def lines(self) -> int:
        """Return how many frames have come to an end."""
        return len(self.trace.read_bytes().splitlines()) if self.trace.exists() else 0

    def round(self, client: subprocess.Popen[str], pause_s: float) -> _Round:
        """Let frames run, give the device a model, and wait until it has kept it."""
        before = self.lines()
        time.sleep(pause_s)
        version, offered, began = self._sign(), self.lines(), time.monotonic()
        later = (Phase.TRIAL, Phase.COMMITTED)
        self.wait(lambda: self._phase(version) in (Phase.INSTALLED, *later), client, "an installation")
        took, installed = time.monotonic() - began, self.lines()
        self.wait(lambda: self._phase(version) in later, client, "a trial")
        on_trial = self.lines()
        self.wait(lambda: self._phase(version) is Phase.COMMITTED, client, "the end of a trial")
        return _Round(before, offered, installed, on_trial, self.lines(), took)

    def wait(self, done: Callable[[], bool], client: subprocess.Popen[str], what: str) -> None:
        """Wait for something. Raises LinkError if it does not come."""
        until = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > until or client.poll() is not None:
                raise LinkError(f"{what} has not come: {last_line(self._folder / 'client.log')}")
            time.sleep(POLL_S)

    def _phase(self, version: int) -> Phase | None:
        known = self._store.view().devices.get(DEVICE)
        if known is None or not known.state.target.startswith(f"{version}-"):
            return None
        if known.state.phase.is_failure:
            raise LinkError(f"the device went back: {known.state.reason}")
        return known.state.phase

    def _sign(self) -> int:
        """Sign the other of the two models once more, with bytes that say nothing, and publish it."""
        self._version += 1
        like = next(one for one in self.repository.artefacts() if one.form == FOR_TORCH and self._is_next(one))
        padding = keep(self.repository, "padding.bin", secrets.token_bytes(self._padding))
        kept = tuple(file for file in like.files if file.name != padding.name)
        artefact = replace(like, version=self._version, files=(*kept, padding), note="")
        self.repository.add([artefact], self._keys, _now())
        self._store.publish(Rollout(self._version, artefact.name, artefact.result, "all", 0, 1))
        return self._version

    def _is_next(self, artefact: Artefact) -> bool:
        return (
            artefact.name == ("first", "second")[self._version % 2 == 1]
        )  # version 3 is the second, since devices begin with the first


def _shape(pair: NamespacePair, kbps: float) -> None:
    """Let both ends of the cable carry so much."""
    for namespace in (pair.device, pair.edge):
        limit = ("rate", f"{kbps:g}kbit", "burst", "3200", "latency", f"{QUEUE_MS}ms")
        run_tool("tc", "-n", namespace, "qdisc", "replace", "dev", INTERFACE, "root", "tbf", *limit)


def _figures(
    records: Sequence[FrameRecord], rounds: Sequence[_Round], options: Namespace, bundle: str
) -> dict[str, object]:
    phases = {
        "no download": [(one.before, one.offered) for one in rounds],
        "download and installation": [(one.offered, one.installed) for one in rounds],
        "loading and self-test": [(one.installed, one.on_trial) for one in rounds],
        "switch and trial": [(one.on_trial, one.committed) for one in rounds],
    }
    frames = {
        name: [record for begin, end in slices for record in records[begin:end]] for name, slices in phases.items()
    }
    alone, download, loading, switch = frames.values()
    share = deadlines_met(alone)
    return {
        "bundle": bundle,
        "kbps": options.kbps,
        "kilobytes": options.kilobytes,
        "deadline_ms": options.deadline_ms,
        "fps": options.fps,
        "rounds": len(rounds),
        "download_s": sorted(one.download_s for one in rounds)[len(rounds) // 2],
        "cost_points": 100 * (share - deadlines_met([*download, *loading])),
        "cost_points_with_switch": 100 * (share - deadlines_met([*download, *loading, *switch])),
        "phases": [
            {"while": name, "frames": len(own), "deadlines_met": deadlines_met(own)} for name, own in frames.items()
        ],
    }


def deadlines_met(frames: Sequence[FrameRecord]) -> float:
    """Return the share of frames whose boxes came in time; 0 if there are none."""
    return sum(record.outcome in MET for record in frames) / max(1, len(frames))


def _now() -> datetime:
    return datetime.now(timezone.utc)
