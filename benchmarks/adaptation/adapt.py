"""Every trace, deadline and policy in simulated time, on labelled images: how much accuracy arrives in time.

The device is the machine that measured the bundle, slowed down (12: about a Raspberry Pi 4). The parameters of
the controller were tuned on the made-up traces and on TMobile-UMTS-driving; the others only judge.
"""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.adaptation import real as adapt_real
from benchmarks.adaptation.adapt_plot import draw_comparisons, draw_time_line
from benchmarks.adaptation.figures import run_figures
from benchmarks.adaptation.frame_bank import frame_bank
from benchmarks.adaptation.reactions import reactions
from benchmarks.adaptation.real import CLIENT_MODES, RealSettings, add_real_arguments
from benchmarks.adaptation.simulated_trace import ObservedPolicy, trace_lines
from benchmarks.adaptation.simulation import Device, simulate
from benchmarks.adaptation.study import ADAPTING, FIXED, Study
from benchmarks.adaptation.summary import GREEDY_ORACLE, OURS, against_rivals, with_shares, worst_cases
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.drawing import require_matplotlib
from benchmarks.harness.traces import Trace, part, ramp, read_trace, steps, with_outages
from splitnet.errors import ConfigError
from splitnet.manifest import load_manifest
from splitnet.operating_point import OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TUNED_ON = frozenset({"steps", "ramp", "steps-outages", "TMobile-UMTS-driving"})
DEADLINES_MS = (100.0, 200.0, 300.0, 600.0)
RECORDED, MADE_UP = "recorded", "made-up"  # families of traces
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
    add("--deadlines", type=float, nargs="*", default=list(DEADLINES_MS), metavar="MS", help="(%(default)s)")
    names = f"{', '.join(ADAPTING)}, {FIXED} (every point) or operating points; all if not given"
    add("--policies", nargs="*", metavar="NAME", help=names)
    add("--seconds", type=float, metavar="S", help="of each trace, at most (the whole; of a real link 60)")
    add("--start", type=float, default=0.0, metavar="S", help="second of each recorded trace to begin at (%(default)s)")
    add("--fps", type=float, default=10.0, help="frames a second (%(default)s)")
    add("--slowdown", type=float, default=6.0, help="of the device (%(default)s)")
    add("--local-ms", type=float, default=60.0, help="the detector, on a device not slowed down (%(default)s)")
    add("--rtt-ms", type=float, default=30.0, help="of an empty message (%(default)s)")
    add("--server-ms", type=float, default=15.0, help="of the server for a frame (%(default)s)")
    add(
        "--quick",
        action="store_true",
        help="a look: a minute of each trace, few images, one deadline, no fixed points",
    )
    add("--line-trace", default="ATT-LTE-driving", metavar="NAME", help="trace of the drawn time line (%(default)s)")
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
        options.out.parent.mkdir(parents=True, exist_ok=True)
    traces = list(_traces(options))
    study = _study(options)
    rows = with_shares(list(_rows(study, traces, options)))
    compared = against_rivals(rows)
    if options.out is not None:
        draw_comparisons(options.out, rows)
        _draw_time_line(options, study, [trace for _, trace in traces])
    return {
        "bundle": f"{study.manifest.name} {study.manifest.digest[:12]}",
        "pictures": study.bank.images,
        "device_slowdown": options.slowdown,
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
        "traces": list(_paths(options.traces or [])),
    }
    return Namespace(**{**vars(options), **given})


def _study(options: Namespace) -> Study:
    if min(options.fps, options.slowdown, options.local_ms) <= 0:
        raise ConfigError("--fps, --slowdown and --local-ms must be positive")
    manifest = load_manifest(options.bundle)
    bank = frame_bank(options.bundle, options.images, options.annotations, options.limit)
    encode_ms = {OperatingPoint(p.codec, p.width, p.quality): p.encode_ms_p50 for p in manifest.points}
    device = Device(encode_ms.__getitem__, options.local_ms, options.slowdown)
    return Study(manifest, bank, device, options.fps, options.rtt_ms, options.server_ms)


def _traces(options: Namespace) -> Iterator[tuple[str, Trace]]:
    """Yield every trace with its family. Raises ConfigError."""
    if options.seconds is not None and options.seconds <= 0:
        raise ConfigError("--seconds must be positive")
    longest_s = float("inf") if options.seconds is None else options.seconds
    for path in _paths([DATA / "traces"] if options.traces is None else options.traces):
        trace = read_trace(path)
        yield RECORDED, part(trace, options.start, min(longest_s, trace.duration_s - options.start))
    if options.synthetic:
        for trace in made_up():
            yield MADE_UP, part(trace, 0.0, min(longest_s, trace.duration_s))


def _paths(given: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that are named, and those of the folders that are: all but hidden ones and Markdown."""
    for path in given:
        found = sorted(path.iterdir()) if path.is_dir() else [path]
        yield from (one for one in found if one == path or not (one.name.startswith(".") or one.suffix == ".md"))


def made_up() -> list[Trace]:
    """Return links with steps, a ramp and outages."""
    return [
        steps([4, 1, 4, 0.5, 2, 0.5, 8, 2], 10.0),
        ramp(0.3, 6.0, 20.0),
        with_outages(steps([2.0], 40.0), [(8.0, 2.0), (20.0, 6.0), (33.0, 0.6)]),
    ]


def _rows(study: Study, traces: Sequence[tuple[str, Trace]], options: Namespace) -> Iterator[dict[str, Any]]:
    names = study.named(options.policies or [*ADAPTING, FIXED])
    runs = [(f, trace, deadline, name) for f, trace in traces for deadline in options.deadlines for name in names]
    for family, trace, deadline_ms, name in tqdm(runs, unit="run"):
        world = study.world(trace, deadline_ms)
        figures = run_figures(simulate(world, study.policy(name, world)), study.bank, world.seconds)
        head = {"trace": trace.name, "family": family, "tuned_on": trace.name in TUNED_ON, "deadline_ms": deadline_ms}
        yield {**head, "policy": name, **figures}


def _draw_time_line(options: Namespace, study: Study, traces: Sequence[Trace]) -> None:
    """Draw the controller at work on a piece of a trace, if that trace is among those given."""
    chosen = next((trace for trace in traces if trace.name == options.line_trace), None)
    if chosen is None:
        return
    world = study.world(chosen, options.line_deadline)
    observed = ObservedPolicy(study.policy(OURS, world))
    lines = trace_lines(simulate(world, observed), observed.believed, options.line_deadline)
    draw_time_line(options.out, lines, chosen, options.line_from, options.line_from + options.line_seconds)
