"""Every link, device, frame rate, deadline and policy in simulated time, on labelled images: accuracy that is in time.

Encoder, local detector and server take the times that are measured here first, each by its best back end. Devices are
this machine slowed down: against a core of a server of 2023, a Raspberry Pi 5 is about 6 times slower, a Pi 4 about 14
times (docs/adaptation.md says where that is from). The controller's numbers were chosen on the first halves of the
recorded links, the made-up links, and generated links of seeds below 1000. What is run by default is the rest: the
second halves, and generated links of fresh seeds.
"""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.adaptation import real as adapt_real
from benchmarks.adaptation.adapt_plot import draw_comparisons, draw_time_line
from benchmarks.adaptation.figures import run_figures, segments
from benchmarks.adaptation.frame_bank import frame_bank
from benchmarks.adaptation.links import FIRST_FRESH_SEED, JUDGE, PARTS, WHOLE, Link, chosen_links, files_of
from benchmarks.adaptation.machine_times import MachineTimes, measured_here, times_of
from benchmarks.adaptation.pooled import SEGMENT_S, pooled, targets
from benchmarks.adaptation.reactions import reactions
from benchmarks.adaptation.real import CLIENT_MODES, RealSettings, add_real_arguments
from benchmarks.adaptation.simulated_trace import ObservedPolicy, trace_lines
from benchmarks.adaptation.simulation import Device, simulate
from benchmarks.adaptation.study import ADAPTING, FIXED, Study
from benchmarks.adaptation.summary import GREEDY_ORACLE, OPTIMUM, ORACLE, OURS, against_rivals, with_shares, worst_cases
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.drawing import require_matplotlib
from benchmarks.harness.traces import Trace
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.manifest import load_manifest
from splitnet.operating_point import OperatingPoint, parse_point
from splitnet.settings import DEFAULT_BUNDLE

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DEADLINES_MS = (200.0, 300.0, 600.0)
SLOWDOWNS = (1.0, 6.0, 14.0)  # this machine, a Raspberry Pi 5, a Pi 4
FPS = (10.0, 30.0)
LIGHT = (OURS, "image", "see", "local", GREEDY_ORACLE)  # policies that are run at further frame rates, too
DEFAULTS: dict[str, Any] = {"seconds": 60.0, "deadlines": DEADLINES_MS, "fps": FPS, "slowdown": SLOWDOWNS}
LINE_TRACE = "ATT-LTE-driving"
REAL_TRACES = ("TMobile-UMTS-driving.up", "ATT-LTE-driving.up", "5g-driving-8.csv")  # one of each kind
REAL_DEADLINES_MS = (200.0, 300.0)
QUICK: dict[str, Any] = {  # a look: what a whole run has by default
    "limit": 24,
    "seconds": 30.0,
    "deadlines": [200.0],
    "fps": [10.0],
    "slowdown": [6.0],
    "generated": 0,
    "policies": list(LIGHT),
}


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    add("--images", type=Path, default=DATA / "coco" / "val2017", metavar="DIR", help="labelled images (%(default)s)")
    add("--annotations", type=Path, default=DATA / "coco" / "val.json", metavar="FILE", help="boxes (%(default)s)")
    add("--limit", "--pictures", type=int, metavar="N", help="only the first N images")
    traces = "recorded links (Mahimahi or CSV), or folders of them; those of the shared data if not given"
    add("--traces", type=Path, nargs="*", metavar="PATH", help=traces)
    halves = "of each recorded link: the first half, the second, or all (judge for the shared data's, else whole)"
    add("--part", choices=list(PARTS), help=halves)
    add("--synthetic", action=BooleanOptionalAction, default=False, help="the made-up links as well")
    add("--generated", type=int, metavar="N", help="so many generated links as well (8)")
    add("--seed", type=int, default=FIRST_FRESH_SEED, metavar="N", help="of the first generated link (%(default)s)")
    add("--share", type=int, default=1, metavar="N", help="cameras that share each link (%(default)s)")
    add("--deadlines", type=float, nargs="+", metavar="MS", help="(200 300 600)")
    names = f"{', '.join(ADAPTING)}, {FIXED} (see --fixed) or operating points; all but {ORACLE} if not given"
    add("--policies", nargs="*", metavar="NAME", help=names)
    add("--fixed", type=int, default=12, metavar="N", help="fixed points, evenly over the table; 0: all (%(default)s)")
    add("--seconds", type=float, metavar="S", help="of each link, at most (60)")
    add("--start", type=float, default=0.0, metavar="S", help="second of each recorded trace to begin at (%(default)s)")
    rates = f"frames a second (10 30); all policies at the first, {', '.join(LIGHT)} at the others"
    add("--fps", type=float, nargs="+", help=rates)
    add("--slowdown", type=float, nargs="+", metavar="X", help="of the devices, against this machine (1 6 14)")
    add(
        "--times",
        type=Path,
        metavar="FILE.json",
        help="take the times of an earlier run, where this machine is busy now",
    )
    add("--local-ms", type=float, help="of the device's own detector, not slowed down (default: measured here)")
    add("--rtt-ms", type=float, default=30.0, help="of an empty message (%(default)s)")
    add("--server-ms", type=float, help="of the server for a frame (default: measured here)")
    add(
        "--quick",
        action="store_true",
        help="a look: half a minute of each link, few images, one device, rate and deadline, no fixed points",
    )
    line = f"trace of the drawn time line ({LINE_TRACE}, or the first one where that is not among them)"
    add("--line-trace", metavar="NAME", help=line)
    add("--line-from", type=float, default=0.0, metavar="S", help="its first second there (%(default)s)")
    add("--line-seconds", type=float, default=90.0, metavar="S", help="its length (%(default)s)")
    add("--line-deadline", type=float, default=200.0, metavar="MS", help="its deadline (%(default)s)")
    add_real_arguments(parser)


def run(options: Namespace) -> dict[str, object]:
    """Return a row for every link, device, rate, deadline and policy, and what they say together; draw them."""
    if options.real:
        return adapt_real.run(_real(options))
    options = with_defaults(options)
    if options.out is not None:
        require_matplotlib()
    links = _links(options)
    line = _line(options, links)
    named = _points_named(options.policies or ())
    times = times_of(options.times) if options.times else measured_here(options.bundle, options.images, named)
    studies = _studies(options, times)
    first = studies[min(1, len(studies) - 1)]  # a Pi 5 by default
    rows = with_shares(list(_rows(studies, links, options)))
    compared = against_rivals(rows)
    if options.out is not None:
        drawn = [row for row in rows if (row["slowdown"], row["fps"]) == (first.device.slowdown, first.fps)]
        draw_comparisons(options.out, drawn)
        _draw_time_line(options, first, line)
    return {
        "bundle": f"{first.manifest.name} {first.manifest.digest[:12]}",
        "pictures": first.bank.images,
        "cameras_on_a_link": options.share,
        **times.to_json(),
        "targets": targets(rows),
        "pooled": pooled(rows),
        "worst": worst_cases(compared),
        "layers": first.layer_rows(),
        "reactions": [
            {"slowdown": study.device.slowdown, **reactions(study, deadline_ms)}
            for study in studies
            for deadline_ms in options.deadlines
        ],
        "compared": compared,
        "runs": [{key: value for key, value in row.items() if key != "segments"} for row in rows],
    }


def with_defaults(options: Namespace) -> Namespace:
    """Return the options with what was not given as it is by default, or for a quick look."""
    defaults = {"generated": 8, "limit": None, **DEFAULTS, **(QUICK if options.quick else {})}
    given = {key: value for key, value in vars(options).items() if value is not None}
    return Namespace(**{**vars(options), **defaults, **given})


def _links(options: Namespace) -> list[Link]:
    if options.share < 1 or options.generated < 0:
        raise ConfigError("--share is at least 1, --generated at least 0")
    paths = [DATA / "traces"] if options.traces is None else options.traces
    piece = options.part or (JUDGE if options.traces is None else WHOLE)
    seeds = range(options.seed, options.seed + options.generated)
    links = chosen_links(paths, options.start, options.seconds, options.synthetic, seeds, piece)
    return [link.shared(options.share) for link in links]


BENCHMARK = Benchmark("adapt", "accuracy that arrives in time: policies over traces", _add_arguments, run)


def _real(options: Namespace) -> Namespace:
    """Return the options with what a real link has by default."""
    paths = [DATA / "traces" / name for name in REAL_TRACES] if options.traces is None else options.traces
    given = {
        "seconds": options.seconds or RealSettings.seconds,
        "fps": (options.fps or [RealSettings.fps])[0],
        "deadlines": options.deadlines or list(REAL_DEADLINES_MS),
        "policies": options.policies or list(CLIENT_MODES),
        "traces": list(files_of(paths)),
    }
    return Namespace(**{**vars(options), **given})


def _studies(options: Namespace, times: MachineTimes) -> list[Study]:
    """Return the study of each device, at the first frame rate."""
    local_ms, server_ms = options.local_ms or times.profile.local_ms, options.server_ms or times.server_ms
    if min(*options.fps, *options.slowdown, local_ms or 1.0, server_ms) <= 0:
        raise ConfigError("--fps, --slowdown, --local-ms and --server-ms must be positive")
    manifest = load_manifest(options.bundle)
    named = _points_named(options.policies or ())
    bank = frame_bank(options.bundle, options.images, options.annotations, options.limit, named, in_layers=True)
    return [
        Study(
            manifest,
            bank,
            Device(lambda point: times.profile.encode_ms[str(point)], local_ms or float("inf"), slowdown),
            options.fps[0],
            options.rtt_ms,
            server_ms,
        )
        for slowdown in options.slowdown
    ]


def _points_named(policies: Sequence[str]) -> list[OperatingPoint]:
    """Return the policies that are operating points. Raises ConfigError for names that are neither."""
    return [parse_point(name) for name in policies if name not in (*ADAPTING, FIXED)]


def _rows(studies: Sequence[Study], links: Sequence[Link], options: Namespace) -> Iterator[dict[str, Any]]:
    asked = options.policies or [name for name in (*ADAPTING, FIXED) if name != ORACLE]
    runs = [
        (study if fps == study.fps else replace(study, fps=fps), link, deadline_ms, name)
        for study in studies
        for fps in options.fps
        for link in links
        for deadline_ms in options.deadlines
        for name in study.named(asked, options.fixed)
        if (fps == study.fps or name in LIGHT) and (name != OPTIMUM or study.has_optimum(link, fps))
    ]
    for study, link, deadline_ms, name in progress(runs, unit="run"):
        world = study.world(link.trace, deadline_ms)
        logs = simulate(world, study.policy(name, world, link.law))
        yield {
            "trace": link.trace.name,
            "family": link.family,
            "tuned_on": link.is_tuned_on,
            "slowdown": study.device.slowdown,
            "fps": study.fps,
            "deadline_ms": deadline_ms,
            "policy": name,
            **run_figures(logs, study.bank, world.seconds),
            "segments": segments(logs, study.worth, SEGMENT_S),
        }


def _line(options: Namespace, links: Sequence[Link]) -> Trace:
    """Return the trace of the time line. Raises ConfigError if the one that was asked for is not there."""
    named = {link.trace.name: link.trace for link in links}
    chosen = named.get(options.line_trace or LINE_TRACE, None if options.line_trace else links[0].trace)
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
