"""What a still room takes on the wire: a real client and server, all that gRPC, HTTP/2, TCP and IP add included.

Two runs, one longer than the other. What the longer one takes more, is what its further frames take: the connection
and the first frame are in both.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.counting_relay import Traffic, counting_relay
from benchmarks.harness.images import sample_images
from benchmarks.harness.processes import child_process, last_line, server_process
from splitnet.errors import ConfigError, LinkError
from splitnet.settings import DEFAULT_BUNDLE
from training.data.clips import still

WAYS = {
    "whole frames": ("--whole-frames",),
    "changes": (),
    "changes, repeated for 2 s": ("--repeat-s", "2"),
}
SHORT = 0.25  # of the longer run's frames
CLIENT_PATIENCE_S = 300.0

Run = tuple[Traffic, int]  # and the frames that had an answer: a busy client skips some


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the bundle (%(default)s)")
    add("--frames", type=int, default=160, help="of the longer run (%(default)s)")
    add("--fps", type=float, default=10.0, help="frames a second (%(default)s)")
    add("--quality", type=int, default=4, help="of the bundle (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return bytes a frame in both directions, for each way of sending a still room."""
    if options.frames < 8 or not options.fps > 0:
        raise ConfigError("--frames must be at least 8, --fps positive")
    with TemporaryDirectory() as scratch, ExitStack() as running:
        folder = Path(scratch)
        frames = _room(folder / "room", options.frames)
        server = running.enter_context(server_process(options.bundle, folder / "server.log", "--no-tune"))
        rows = []
        for name, words in WAYS.items():
            fewer, more = (
                _traffic(options, server.address, frames, count, words, folder)
                for count in (round(SHORT * options.frames), options.frames)
            )
            rows.append({"way": name, **per_frame(fewer, more)})
    return {"bundle": options.bundle.name, "fps": options.fps, "quality": options.quality, "rows": rows}


def per_frame(fewer: Run, more: Run) -> dict[str, float]:
    """Return what each of the frames took that one run had more than the other. LinkError if it has no more."""
    (few, few_frames), (many, many_frames) = fewer, more
    frames = many_frames - few_frames
    if frames < 1:
        raise LinkError("the client skipped nearly all frames: measure while the machine has nothing else to do")
    names = ("up_bytes", "up_packets", "up_wire_bytes", "down_bytes", "down_packets", "down_wire_bytes")
    return {name: round((getattr(many, name) - getattr(few, name)) / frames, 2) for name in names}


def _room(folder: Path, count: int) -> Path:
    folder.mkdir()
    room = next(iter(sample_images().values()))
    for number, frame in enumerate(still(room, np.random.default_rng(0), count)):
        cv2.imwrite(str(folder / f"{number:04}.png"), frame)
    return folder


def _traffic(options: Namespace, server: str, frames: Path, count: int, words: Sequence[str], folder: Path) -> Run:
    log, found = folder / "client.log", folder / "found.jsonl"
    with counting_relay(server) as (address, traffic):
        command = ["edge_client", "run", "--server", address, "--bundle", str(options.bundle.resolve())]
        command += ["--source", str(frames), "--fps", str(options.fps), "--max-frames", str(count), *words]
        command += ["--codec", "rans", "--quality", str(options.quality), "--deadline-ms", "0", "--out", str(found)]
        with log.open("w", encoding="utf-8") as stderr, child_process(command, PIPE, stderr) as client:
            client.communicate(timeout=CLIENT_PATIENCE_S)
            if client.returncode:
                raise LinkError(f"the client failed: {last_line(log)}")
    return traffic, found.read_text(encoding="utf-8").count("\n")


SUMMARY = "what a still room takes on the wire, headers and all"
BENCHMARK = Benchmark("wire", SUMMARY, _add_arguments, run)
