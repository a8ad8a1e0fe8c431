"""What answers are worth when they are late: boxes as they were, and moved on by their own speed (`--smooth`).

The unsplit detector looks at every frame. A frame's truth is what it finds there; its answer is what it found some
frames before.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from benchmarks.harness.benchmark import Benchmark
from benchmarks.video.eyes import Eyes, WholeDetector
from benchmarks.video.fidelity import fidelity
from benchmarks.video.video import DATA
from edge_client.output.motion import Motion
from splitnet.bundle import load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.settings import DEFAULT_BUNDLE
from training.data.clips import video_frames


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the bundle (%(default)s)")
    add("--clips", type=Path, nargs="+", default=sorted(DATA.glob("*.mp4")), metavar="FILE", help="any videos")
    add("--fps", type=float, default=10.0, help="frames a second that are taken of each clip, about (%(default)s)")
    add("--frames", type=int, default=150, help="of each clip, at most (%(default)s)")
    add("--most-ms", type=float, default=300.0, help="the longest delay (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return fidelity by delay for each clip."""
    if not options.clips or not options.fps > 0 or options.frames < 3:
        raise ConfigError("give videos to --clips, at least 3 --frames and a positive --fps")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    server = load_server(options.bundle)
    if server.detector is None:
        raise ConfigError("the bundle has no unsplit detector, whose boxes are delayed")
    whole = WholeDetector(server.detector, server.manifest.input_size)
    rows = []
    for path in options.clips:
        frames = video_frames(path, options.fps, options.frames)
        height, width = frames[0].shape[:2]
        eyes = Eyes(server, whole, Letterbox.fit(width, height, whole.input_size))
        found = [eyes.image(eyes.box.apply(frame)) for frame in tqdm(frames, unit="frame", desc=path.stem)]
        for late in range(round(options.most_ms * options.fps / 1000) + 1):
            rows.append({"clip": path.stem, **delayed(found, late, options.fps, (width, height))})
    return {"bundle": server.manifest.name, "fps": options.fps, "rows": rows}


def delayed(found: Sequence[Detections], late: int, fps: float, size: tuple[int, int]) -> dict[str, Any]:
    """Return the fidelity of answers that are so many frames late, as they were and moved on. size: width, height."""
    motion, moved = Motion(), []
    for number in range(late, len(found)):
        motion.answered((number - late) / fps, found[number - late])
        expected = motion.at(number / fps, *size)
        assert expected is not None, "a delay beyond what boxes are moved on for"
        moved.append(expected)
    truth, kept = found[late + 1 :], found[1 : len(found) - late]
    return {
        "delay_ms": round(1000 * late / fps),
        "as_it_was": round(fidelity(truth, kept), 1),
        "moved_on": round(fidelity(truth, moved[1:]), 1),
    }


SUMMARY = "boxes that are late, as they were and moved on by their own speed"
BENCHMARK = Benchmark("delay", SUMMARY, _add_arguments, run)
