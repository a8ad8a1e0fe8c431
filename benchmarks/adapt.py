"""Every trace, deadline and policy in simulated time, on labelled pictures: how much accuracy arrives in time.

The device is the machine that measured the bundle, slowed down (12: about a Raspberry Pi 4). The parameters of
the controller were tuned on the made-up traces and on TMobile-UMTS-driving; the others only judge.
"""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import adapt_real
from benchmarks.adapt_figures import frames_until_width, late_frames_after, run_figures, seconds_until_best
from benchmarks.adapt_real import add_real_arguments
from benchmarks.benchmark import Benchmark
from benchmarks.clairvoyant import ClairvoyantPolicy
from benchmarks.effective_accuracy import FrameBank
from benchmarks.frame_bank import frame_bank
from benchmarks.oracle import OraclePolicy
from benchmarks.rivals import LocalOnlyPolicy, SeePolicy
from benchmarks.simulation import Device, FrameLog, World, simulate
from benchmarks.traces import Trace, part, ramp, read_trace, steps, with_outages
from edge_client.adaptive_policy import AdaptivePolicy
from edge_client.config import parse_point
from edge_client.controller import ControlSettings
from edge_client.policy import Circumstances, Decision, FixedPolicy, Policy
from edge_client.profile import DeviceProfile
from edge_client.table import Choice, Table, build_table
from splitnet.errors import ConfigError
from splitnet.manifest import Manifest, load_manifest
from splitnet.operating_point import LOCAL, Mode, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
TUNED_ON = frozenset({"steps", "ramp", "outages", "TMobile-UMTS-driving"})
ADAPTING = ("adaptive", "image", "see", "local", "oracle", "clairvoyant")
STEP_S = 10.0  # each level of the reaction runs


@dataclass(frozen=True)
class Study:
    """What all runs share."""

    manifest: Manifest
    bank: FrameBank
    device: Device
    seconds: float
    fps: float
    rtt_ms: float
    server_ms: float

    def world(self, trace: Trace, deadline_ms: float, device: Device | None = None) -> World:
        """Return the world of one run."""
        return World(
            trace, self.bank, device or self.device, deadline_ms, self.seconds, self.fps, self.rtt_ms, self.server_ms
        )

    def table(self, mode: Choice = "auto") -> Table:
        """Return what the device's profile and the bundle give a policy to choose from."""
        encode_ms = {
            str(point): self.device.encode_ms(point) * self.device.slowdown
            for point in self.bank.points
            if point.travels
        }
        local_ms = self.device.local_ms * self.device.slowdown if LOCAL in self.bank.points else None
        return build_table(self.manifest, DeviceProfile("simulated", self.manifest.digest, encode_ms, local_ms), mode)

    def policy(self, name: str, world: World) -> Policy:
        """Return a policy by its name: one of ADAPTING, or an operating point. Raises ConfigError."""
        table, settings = self.table(), ControlSettings(world.deadline_ms, has_local=True)
        made: dict[str, Callable[[], Policy]] = {
            "adaptive": lambda: AdaptivePolicy(table, settings),
            "image": lambda: AdaptivePolicy(self.table("image"), settings),
            "see": lambda: SeePolicy(self.table("split").rows),
            "local": LocalOnlyPolicy,
            "oracle": lambda: OraclePolicy(world, table),
            "clairvoyant": lambda: ClairvoyantPolicy(world, table),
        }
        return made[name]() if name in made else FixedPolicy(parse_point(name))

    def fixed(self) -> list[str]:
        """Return the names of all fixed points worth trying: every split one and the pictures of the table."""
        return [str(point) for point in self.bank.points if point.mode is Mode.SPLIT] + [
            str(row.point) for row in self.table("image").rows
        ]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, default=DATA / "coco" / "val2017", metavar="DIR", help="pictures")
    parser.add_argument("--annotations", type=Path, default=DATA / "coco" / "val.json", metavar="FILE", help="boxes")
    parser.add_argument("--pictures", type=int, help="only so many pictures")
    parser.add_argument("--traces", type=Path, nargs="*", metavar="FILE", help="recorded links; all known if not given")
    parser.add_argument("--synthetic", action="store_true", help="the made-up links as well")
    parser.add_argument("--deadlines", type=float, nargs="*", default=[100.0, 200.0, 300.0, 600.0], metavar="MS")
    names = f"{', '.join(ADAPTING)}, fixed (every point) or operating points; all if not given"
    parser.add_argument("--policies", nargs="*", default=[*ADAPTING, "fixed"], metavar="NAME", help=names)
    parser.add_argument("--seconds", type=float, default=300.0, help="of each trace (%(default)s)")
    parser.add_argument("--start", type=float, default=0.0, help="second of each trace to begin at (%(default)s)")
    parser.add_argument("--fps", type=float, default=10.0, help="frames a second (%(default)s)")
    parser.add_argument("--slowdown", type=float, default=12.0, help="of the device (%(default)s)")
    parser.add_argument("--local-ms", type=float, default=30.0, help="the detector, on a device not slowed down")
    parser.add_argument("--rtt-ms", type=float, default=30.0, help="of an empty message (%(default)s)")
    parser.add_argument("--server-ms", type=float, default=15.0, help="of the server for a frame (%(default)s)")
    add_real_arguments(parser)


def run(options: Namespace) -> dict[str, object]:
    """Return one row for every trace, deadline and policy, and the reaction figures of the simulation."""
    if options.real:
        return adapt_real.run(options)
    study = _study(options)
    rows: list[dict[str, object]] = []
    for trace in _traces(options):
        for deadline_ms in options.deadlines:
            rows += _rows(study, trace, deadline_ms, options.policies)
    return {
        "bundle": f"{study.manifest.name} {study.manifest.digest[:12]}",
        "pictures": study.bank.pictures,
        "device_slowdown": options.slowdown,
        "runs": rows,
        "reactions": [_reactions(study, deadline_ms) for deadline_ms in options.deadlines],
    }


BENCHMARK = Benchmark("adapt", "accuracy that arrives in time: policies over traces", _add_arguments, run)


def _study(options: Namespace) -> Study:
    if min(options.seconds, options.fps, options.slowdown, options.local_ms) <= 0:
        raise ConfigError("--seconds, --fps, --slowdown and --local-ms must be positive")
    manifest = load_manifest(options.bundle)
    bank = frame_bank(options.bundle, options.images, options.annotations, options.pictures)
    encode_ms = {OperatingPoint(p.codec, p.width, p.quality): p.encode_ms_p50 for p in manifest.points}
    device = Device(encode_ms.__getitem__, options.local_ms, options.slowdown)
    return Study(manifest, bank, device, options.seconds, options.fps, options.rtt_ms, options.server_ms)


def _traces(options: Namespace) -> list[Trace]:
    paths = sorted((DATA / "traces").glob("*")) if options.traces is None else options.traces
    recorded = [read_trace(path) for path in paths]
    made_up = [
        steps([4, 1, 4, 0.5, 2, 0.5, 8, 2], STEP_S),
        ramp(0.3, 6.0, 20.0),
        with_outages(steps([2.0], 40.0, "outages"), [(8.0, 2.0), (20.0, 6.0), (33.0, 0.6)]),
    ]
    cut = [part(t, options.start, min(options.seconds, t.duration_s - options.start)) for t in recorded]
    return cut + (made_up if options.synthetic else [])


def _rows(study: Study, trace: Trace, deadline_ms: float, names: Sequence[str]) -> list[dict[str, object]]:
    """Return a row for each policy, with its shares of the oracle's figures."""
    world = study.world(trace, deadline_ms)
    every = [name for given in names for name in (study.fixed() if given == "fixed" else [given])]
    figures = {name: _run(study, world, study.policy(name, world)) for name in every}
    oracle = figures.get("oracle")
    head = {"trace": trace.name, "tuned_on": trace.name in TUNED_ON, "deadline_ms": deadline_ms}
    return [{**head, "policy": name, **found, **_shares(found, oracle)} for name, found in figures.items()]


def _run(study: Study, world: World, policy: Policy) -> dict[str, object]:
    return run_figures(simulate(world, policy), study.bank, study.seconds)


def _shares(found: Mapping[str, object], oracle: Mapping[str, object] | None) -> dict[str, object]:
    return {
        f"{key}_of_oracle": None
        if oracle is None or not oracle[key]
        else round(_number(found[key]) / _number(oracle[key]), 4)
        for key in ("ap", "met_share")
    }


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return float(value)


class _Timed(Policy):
    """Notes how long each decision of another policy takes."""

    def __init__(self, policy: AdaptivePolicy) -> None:
        self._policy = policy
        self.decision_s: list[float] = []
        for name in ("encoded", "sent", "acked", "answered", "failed", "link_up", "link_down", "detected_locally"):
            setattr(self, name, getattr(policy, name))

    @property
    def bridges(self) -> bool:
        return self._policy.bridges

    def choose(self, now: float, circumstances: Circumstances) -> Decision:
        begin = time.perf_counter()
        decision = self._policy.choose(now, circumstances)
        self.decision_s.append(time.perf_counter() - begin)
        return decision


def _reactions(study: Study, deadline_ms: float) -> dict[str, object]:
    """Return how quickly the controller follows: a link 4 times slower, one 4 times faster, twice the load."""
    aps = {row.point: row.ap for row in study.table().rows}
    link = study.world(steps([4.0, 1.0, 4.0], STEP_S), deadline_ms)
    timed = _Timed(AdaptivePolicy(study.table(), ControlSettings(deadline_ms, has_local=True)))
    logs = simulate(replace(link, seconds=3 * STEP_S), timed)
    return {
        "deadline_ms": deadline_ms,
        "late_frames_after_step_down": late_frames_after(logs, STEP_S),
        "seconds_to_new_best_after_step_up": round(seconds_until_best(logs, aps, 2 * STEP_S, 3 * STEP_S), 2),
        "frames_until_width_follows_load": frames_until_width(_loaded(study, deadline_ms), STEP_S, 2 * STEP_S),
        "decision_us_p50": round(1e6 * statistics.median(timed.decision_s), 1),
    }


def _loaded(study: Study, deadline_ms: float) -> list[FrameLog]:
    """Return a run of the split points alone in which the load doubles after STEP_S."""
    device = replace(study.device, load=((0.0, 1.0), (STEP_S, 2.0)))
    world = replace(study.world(steps([2.0], 2 * STEP_S), deadline_ms, device), seconds=2 * STEP_S)
    return simulate(world, AdaptivePolicy(study.table("split"), ControlSettings(deadline_ms)))
