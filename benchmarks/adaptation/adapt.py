"""Every trace, deadline and policy in simulated time, on labelled images: how much accuracy arrives in time.

Encoder, local detector and server take the times that are measured here first, each by its best back end. The device is
this machine slowed down: against a core of a server of 2023, a Raspberry Pi 5 is about 6 times slower, a Pi 4 about 14
times. The controller was tuned on the made-up links and the recorded ones of the shared data. To judge it, generate
links from seeds that were not looked at (`--generated 24 --seed 1000`), or bring recordings of your own (`--traces`).
"""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.adaptation import real as adapt_real
from benchmarks.adaptation.adapt_plot import draw_comparisons, draw_time_line
from benchmarks.adaptation.figures import run_figures
from benchmarks.adaptation.frame_bank import frame_bank
from benchmarks.adaptation.links import TUNED_ON, Link, chosen_links, files_of
from benchmarks.adaptation.machine_times import MachineTimes, measured_here
from benchmarks.adaptation.reactions import reactions
from benchmarks.adaptation.real import CLIENT_MODES, RealSettings, add_real_arguments
from benchmarks.adaptation.simulated_trace import ObservedPolicy, trace_lines
from benchmarks.adaptation.simulation import Device, simulate
from benchmarks.adaptation.study import ADAPTING, FIXED, Study
from benchmarks.adaptation.summary import GREEDY_ORACLE, OURS, against_rivals, with_shares, worst_cases
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.drawing import require_matplotlib
from benchmarks.harness.traces import Trace
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.manifest import load_manifest
from splitnet.operating_point import OperatingPoint, parse_point
from splitnet.settings import DEFAULT_BUNDLE

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DEADLINES_MS = (100.0, 200.0, 300.0, 600.0)
LINE_TRACE = "ATT-LTE-driving"
QUICK: dict[str, Any] = {  # a look: what would be a whole run's settings
    "limit": 24,
    "seconds": 60.0,
    "deadlines": [200.0],
    "policies": ["adaptive", "image", "see", "local", GREEDY_ORACLE],
}


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    add("--images", type=Path, default=DATA / "coco" / "val2017", metavar="DIR", help="labelled images (%(default)s)")
    add("--annotations", type=Path, default=DATA / "coco" / "val.json", metavar="FILE", help="boxes (%(default)s)")
    add("--limit", "--pictures", type=int, metavar="N", help="only the first N images")
    traces = "recorded links (Mahimahi or CSV), or folders of them; those of the shared data if not given"
    add("--traces", type=Path, nargs="*", metavar="PATH", help=traces)
    add("--synthetic", action=BooleanOptionalAction, default=True, help="the made-up links as well")
    add("--generated", type=int, default=0, metavar="N", help="so many generated links as well (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the first generated link (%(default)s)")
    add("--deadlines", type=float, nargs="*", default=list(DEADLINES_MS), metavar="MS", help="(%(default)s)")
    names = f"{', '.join(ADAPTING)}, {FIXED} (every point) or operating points; all if not given"
    add("--policies", nargs="*", metavar="NAME", help=names)
    add("--seconds", type=float, metavar="S", help="of each trace, at most (the whole; of a real link 60)")
    add("--start", type=float, default=0.0, metavar="S", help="second of each recorded trace to begin at (%(default)s)")
    add("--fps", type=float, default=10.0, help="frames a second (%(default)s)")
    add("--slowdown", type=float, default=6.0, help="of the device, against this machine (%(default)s)")
    add("--local-ms", type=float, help="of the device's own detector, not slowed down (default: measured here)")
    add("--rtt-ms", type=float, default=30.0, help="of an empty message (%(default)s)")
    add("--server-ms", type=float, help="of the server for a frame (default: measured here)")
    add(
        "--quick",
        action="store_true",
        help="a look: a minute of each trace, few images, one deadline, no fixed points",
    )
    line = f"trace of the drawn time line ({LINE_TRACE}, or the first one where that is not among them)"
    add("--line-trace", metavar="NAME", help=line)
    add("--line-from", type=float, default=0.0, metavar="S", help="its first second there (%(default)s)")
    add("--line-seconds", type=float, default=90.0, metavar="S", help="its length (%(default)s)")
    add("--line-deadline", type=float, default=200.0, metavar="MS", help="its deadline (%(default)s)")
    add_real_arguments(parser)


def run(options: Namespace) -> dict[str, object]:
    """Return a row for every trace, deadline and policy, and what they say together; draw them beside --out."""
    if options.real:
        return adapt_real.run(_real(options))
    if options.quick:
        options = Namespace(**{**vars(options), **QUICK})
    if options.out is not None:
        require_matplotlib()
    paths = [DATA / "traces"] if options.traces is None else options.traces
    seeds = range(options.seed, options.seed + options.generated)
    links = chosen_links(paths, options.start, options.seconds, options.synthetic, seeds)
    line = _line(options, links)
    times = measured_here(options.bundle, options.images, _points_named(options.policies or ()))
    study = _study(options, times)
    rows = with_shares(list(_rows(study, links, options)))
    compared = against_rivals(rows)
    if options.out is not None:
        draw_comparisons(options.out, rows)
        _draw_time_line(options, study, line)
    return {
        "bundle": f"{study.manifest.name} {study.manifest.digest[:12]}",
        "pictures": study.bank.images,
        "device_slowdown": options.slowdown,
        **times.to_json(),
        "worst": worst_cases(compared),
        "reactions": [reactions(study, deadline_ms) for deadline_ms in options.deadlines],
        "compared": compared,
        "runs": rows,
    }


BENCHMARK = Benchmark("adapt", "accuracy that arrives in time: policies over traces", _add_arguments, run)


def _real(options: Namespace) -> Namespace:
    """Return the options with what a real link has by default."""
    given = {
        "seconds": options.seconds or RealSettings.seconds,
        "policies": options.policies or list(CLIENT_MODES),
        "traces": list(files_of(options.traces or [])),
    }
    return Namespace(**{**vars(options), **given})


def _study(options: Namespace, times: MachineTimes) -> Study:
    local_ms, server_ms = options.local_ms or times.profile.local_ms, options.server_ms or times.server_ms
    if min(options.fps, options.slowdown, local_ms or 1.0, server_ms) <= 0:
        raise ConfigError("--fps, --slowdown, --local-ms and --server-ms must be positive")
    manifest = load_manifest(options.bundle)
    named = _points_named(options.policies or ())
    bank = frame_bank(options.bundle, options.images, options.annotations, options.limit, named)
    device = Device(lambda point: times.profile.encode_ms[str(point)], local_ms or float("inf"), options.slowdown)
    return Study(manifest, bank, device, options.fps, options.rtt_ms, server_ms)


def _points_named(policies: Sequence[str]) -> list[OperatingPoint]:
    """Return the policies that are operating points. Raises ConfigError for names that are neither."""
    return [parse_point(name) for name in policies if name not in (*ADAPTING, FIXED)]


def _rows(study: Study, links: Sequence[Link], options: Namespace) -> Iterator[dict[str, Any]]:
    names = study.named(options.policies or [*ADAPTING, FIXED])
    runs = [(f, trace, deadline, name) for f, trace in links for deadline in options.deadlines for name in names]
    for family, trace, deadline_ms, name in progress(runs, unit="run"):
        world = study.world(trace, deadline_ms)
        figures = run_figures(simulate(world, study.policy(name, world)), study.bank, world.seconds)
        head = {"trace": trace.name, "family": family, "tuned_on": trace.name in TUNED_ON, "deadline_ms": deadline_ms}
        yield {**head, "policy": name, **figures}


def _line(options: Namespace, links: Sequence[Link]) -> Trace:
    """Return the trace of the time line. Raises ConfigError if the one that was asked for is not there."""
    named = {trace.name: trace for _, trace in links}
    chosen = named.get(options.line_trace or LINE_TRACE, None if options.line_trace else links[0][1])
    if chosen is None:
        raise ConfigError(f"--line-trace {options.line_trace} is not among the traces: {', '.join(named)}")
    if options.line_trace and options.line_from >= chosen.duration_s:
        raise ConfigError(f"{chosen.name} ends after {chosen.duration_s:g} s: give an earlier --line-from")
    return chosen


def _draw_time_line(options: Namespace, study: Study, link: Trace) -> None:
    """Draw the controller at work on a piece of a link."""
    world = study.world(link, options.line_deadline)
    observed = ObservedPolicy(study.policy(OURS, world))
    lines = trace_lines(simulate(world, observed), observed.believed, options.line_deadline)
    draw_time_line(options.out, lines, link, options.line_from, options.line_from + options.line_seconds)
