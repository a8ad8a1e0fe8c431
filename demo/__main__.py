"""`python -m demo`: a server and a device on this machine, real frames, every kind of operating point.

Then the device chooses for itself, while the link is squeezed and the processor loaded.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness.drawing import LIGHT
from benchmarks.harness.images import sample_images
from benchmarks.harness.plot import draw_run
from benchmarks.harness.processes import ServerProcess, server_process
from benchmarks.harness.run_trace import link_beside, read_run
from benchmarks.harness.traces import read_trace
from demo.adapting import phase_rows, run_ordeal
from demo.answers import read_answers
from demo.chart import draw_chart
from demo.client import ClientFiles, client_command, run_client, source_address
from demo.film import write_film
from demo.ordeal import Ordeal, ordeal_for
from demo.overview import write_overview
from demo.schedule import FILM_FRAMES, operating_points
from demo.summary import as_text, summarise
from splitnet.errors import ConfigError, SplitError
from splitnet.manifest import load_manifest
from splitnet.operating_point import OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

FRAMES_HELP = f"frames at most ({FILM_FRAMES} of the photographs, all of a --source; Ctrl+C ends a camera)"
INTERRUPTED = 130  # the shell's exit code for Ctrl+C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns its exit code: 0 objects were found, 1 none or something failed, 130 Ctrl+C."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SplitError as error:
        _say(str(error))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--source", metavar="SRC", help="video, folder, camera or rtsp://; photographs if not given")
    parser.add_argument("--frames", type=_positive, metavar="N", help=FRAMES_HELP)
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle to run")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="folder for the results")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    manifest = load_manifest(options.bundle)
    points = operating_points(manifest)
    names = [str(point) for point in points]
    out = _created(options.out.resolve())
    files = ClientFiles.inside(out)
    with _source(options) as source:
        _say("starting cloud-server")
        with server_process(options.bundle, files.folder / "server.log") as server:
            complete = _detect(options, server, source, points, files)
            answers = read_answers(files.detections)
            ordeal = ordeal_for(manifest, answers, names[0]) if complete else None
            adapting = _adapt(options, server, source, ordeal, files) if ordeal is not None else {}
    summary = {**summarise(manifest, answers, names, files.counts()), **adapting}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if answers:
        _say("drawing")
        draw_chart(out / "chart.png", answers, names)
        write_overview(out / "overview.jpg", files.clip, answers, names)
    print(json.dumps(summary, indent=1) if options.json else "\n" + as_text(summary, out))
    return _exit_code(complete and (ordeal is None or bool(adapting)), summary)


def _detect(
    options: argparse.Namespace,
    server: ServerProcess,
    source: str,
    points: Sequence[OperatingPoint],
    files: ClientFiles,
) -> bool:
    """Run the client through all points; returns False if Ctrl+C ended it early."""
    _say(f"server ready on {server.address}; starting edge-client: {', '.join(map(str, points))}")
    command = client_command(server.address, source, options.bundle, points, options.frames or 0, files)
    return run_client(command, server)


def _adapt(
    options: argparse.Namespace, server: ServerProcess, source: str, ordeal: Ordeal, files: ClientFiles
) -> dict[str, Any]:
    """Run the client under changing conditions, and draw it; returns its part of the summary, {} after Ctrl+C."""
    names = ", ".join(f"{phase.name} ({phase.mbps:g} Mbps)" for phase in ordeal.phases)
    _say(f"starting edge-client with a deadline of {ordeal.deadline_ms} ms: {names}")
    if not run_ordeal(server, source, options.bundle, ordeal, files):
        return {}
    records = read_run(files.trace)
    draw_run(files.folder / "adapting.png", records, read_trace(link_beside(files.trace)), LIGHT)
    return {"adapting": {"deadline_ms": ordeal.deadline_ms, "phases": phase_rows(records, ordeal)}}


@contextmanager
def _source(options: argparse.Namespace) -> Iterator[str]:
    """Yield the user's source, or a folder of frames that lasts as long as the block."""
    if options.source is not None:
        yield source_address(options.source)
        return
    with tempfile.TemporaryDirectory(prefix="slimsplit-demo-") as folder:
        pictures, count = sample_images(), options.frames or FILM_FRAMES
        _say(f"cutting {count} frames out of photographs: {', '.join(pictures)}")
        write_film(Path(folder), list(pictures.values()), count)
        yield folder


def _created(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be created ({error.strerror}); choose another --out") from error
    return folder


def _exit_code(complete: bool, summary: dict[str, Any]) -> int:
    if not complete:
        return INTERRUPTED
    if not summary["found"]:
        _say("nothing was detected")
    return 0 if summary["found"] else 1


def _say(step: str) -> None:
    print(f"demo: {step}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
