"""`python -m benchmarks NAME --out FILE.json`: measure one thing, print it, keep it with commit and machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks import document
from benchmarks.accuracy import backends, choices, failures, kinds, rate, split_points_verify
from benchmarks.adaptation import adapt, delivery, refit
from benchmarks.adaptive_video import adapt_video
from benchmarks.costs import cameras, codec, guide, overhead, small_device, switch, training_cost
from benchmarks.groups import classification, detection, devices, regions
from benchmarks.harness import plot
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.report import as_text
from benchmarks.serving import attack, cluster, frigate, serve, soak, tls, watching
from benchmarks.sharing import sharing
from benchmarks.updates import applying, update
from benchmarks.video import delay, video, wire
from splitnet.atomic_write import write_json
from splitnet.environment import environment
from splitnet.errors import ConfigError, SplitError
from splitnet.extras import missing_extra
from splitnet.home import ensure_home
from splitnet.settings import add_commands

BENCHMARKS = tuple(
    module.BENCHMARK
    for module in (
        codec,
        switch,
        overhead,
        cameras,
        small_device,
        rate,
        choices,
        backends,
        failures,
        kinds,
        adapt,
        adapt_video,
        refit,
        delivery,
        update,
        applying,
        video,
        wire,
        delay,
        serve,
        soak,
        attack,
        watching,
        tls,
        cluster,
        frigate,
        sharing,
        classification,
        devices,
        detection,
        regions,
        split_points_verify,
        training_cost,
        guide,
        document,
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        ensure_home()
        return options.command(options) or 0
    except SplitError as error:
        print(f"benchmarks {options.name}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"benchmarks {options.name}: {missing_extra(error)}", file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> None:
    benchmark: Benchmark = options.benchmark
    if options.out is not None:
        _check_writable(options.out)
    result = {"benchmark": benchmark.name, **benchmark.run(options), **environment()}
    print(as_text(result))
    if options.out is not None:
        write_json(options.out, result)


def _check_writable(out: Path) -> None:
    """Make the folder of a result, and raise ConfigError now if it could not be written later."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written ({error.strerror}); choose another folder") from error


def _plot(options: argparse.Namespace) -> None:
    print(plot.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = add_commands(parser)
    for benchmark in BENCHMARKS:
        own = names.add_parser(benchmark.name, help=benchmark.summary, description=benchmark.summary)
        own.add_argument("--out", type=Path, metavar="FILE.json", help="where to write the figures")
        benchmark.add_arguments(own)
        own.set_defaults(command=_measure, benchmark=benchmark, name=benchmark.name)
    drawing = names.add_parser("plot", help=plot.SUMMARY, description=plot.SUMMARY)
    plot.add_arguments(drawing)
    drawing.set_defaults(command=_plot, name="plot")
    return parser


if __name__ == "__main__":
    sys.exit(main())
