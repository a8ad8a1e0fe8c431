"""Video over a thin link: frames alone, frames as changes, images and video codecs, by bytes and by what is found.

All get the same frames, as the device scales them for each, and go through real bitstreams. The first frame has
nothing to build on and is reported apart.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import sample_images
from benchmarks.video.eyes import Eyes, WholeDetector
from benchmarks.video.fidelity import CERTAIN, fidelity
from benchmarks.video.settings import settings_of
from benchmarks.video.systems import Setting
from benchmarks.video.video_figures import ratios
from benchmarks.video.video_plot import draw_video
from splitnet.bundle import ServerBundle, load_device, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.settings import DEFAULT_BUNDLE
from training.data.clips import Image, still, video_frames

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "video"
STILL = "still"  # the clip that is made here: a photograph with a sensor's noise


@dataclass(frozen=True)
class Clip:
    """Frames to code, and what should be found in some of them."""

    name: str
    frames: Sequence[Image]
    looked: range  # the frames that are judged
    unsplit: Sequence[Detections]  # by the bundle's unsplit detector, on uncompressed canvases
    judged: Sequence[Detections] | None  # by a stronger detector
    eyes: Eyes


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the bundle (%(default)s)")
    add("--clips", type=Path, nargs="+", default=sorted(DATA.glob("*.mp4")), metavar="FILE", help="any videos")
    add("--fps", type=float, default=10.0, help="frames a second that are taken of each clip, about (%(default)s)")
    add("--frames", type=int, default=200, help="of each clip, at most (%(default)s)")
    add("--look-every", type=int, default=2, help="every how many frames are judged; all are coded (%(default)s)")
    add("--qualities", type=int, nargs="+", default=[1, 3, 5, 7, 9, 10], help="of the bundle (%(default)s)")
    add("--no-stream", action="store_true", help="leave out the video codecs, which need PyAV")
    add("--systems", nargs="+", metavar="NAME", help="only systems whose names begin so (default: all)")
    add("--judge", type=Path, metavar="FILE", help="weights of a stronger detector whose boxes are a second reference")
    add("--judge-detector", default="nanodet-plus-m-1.5x", metavar="NAME", help="what --judge is (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the figures of each clip, and draw them beside --out: FILE-light.png and FILE-dark.png."""
    _check(options)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device, server = load_device(options.bundle), load_server(options.bundle)
    device.codec.warm_up()
    judge = None if options.judge is None else WholeDetector.read(options.judge, options.judge_detector)
    settings = _chosen(settings_of(device, options.qualities, not options.no_stream), options.systems)
    clips = [_measured(clip, settings) for clip in _clips(options, server, judge)]
    if options.out is not None:
        draw_video(options.out, clips)
    return {
        "bundle": {"name": device.manifest.name, "digest": device.manifest.digest},
        "judge": None if judge is None else judge.detector.name,
        "fps": options.fps,
        "clips": clips,
        "ratios": [row for clip in clips for row in ratios(clip)],
        "ratios_by_judge": [] if judge is None else [row for clip in clips for row in ratios(clip, "fidelity_judge")],
    }


def _check(options: Namespace) -> None:
    if not options.clips:
        raise ConfigError("there is no clip: give videos to --clips")
    if options.frames < 3 or options.look_every < 1 or not options.fps > 0:
        raise ConfigError("--frames must be at least 3, --look-every at least 1, --fps positive")


def _chosen(settings: Sequence[Setting], names: Sequence[str] | None) -> list[Setting]:
    chosen = [one for one in settings if names is None or one.system.startswith(tuple(names))]
    if not chosen:
        raise ConfigError(
            f"no system is called so; there are {', '.join(dict.fromkeys(one.system for one in settings))}"
        )
    return chosen


def _clips(options: Namespace, server: ServerBundle, judge: WholeDetector | None) -> Iterator[Clip]:
    for path in options.clips:
        yield _clip(path.stem, video_frames(path, options.fps, options.frames), options.look_every, server, judge)
    room = next(iter(sample_images().values()))
    frames = list(still(room, np.random.default_rng(0), options.frames))
    yield _clip(STILL, frames, options.look_every, server, judge)


def _clip(
    name: str, frames: Sequence[Image], look_every: int, server: ServerBundle, judge: WholeDetector | None
) -> Clip:
    size = server.manifest.input_size
    if server.detector is None:
        raise ConfigError("the bundle has no unsplit detector, whose boxes fidelity is about")
    box = Letterbox.fit(frames[0].shape[1], frames[0].shape[0], size)
    eyes = Eyes(server, WholeDetector(server.detector, size), box)
    looked = range(1, len(frames), look_every)
    unsplit = [eyes.image(box.apply(frames[i])) for i in looked]
    judged = None if judge is None else [judge.look(box.apply(frames[i]), box) for i in looked]
    return Clip(name, frames, looked, unsplit, judged, eyes)


def _measured(clip: Clip, settings: Sequence[Setting]) -> dict[str, Any]:
    rows = [_row(one, clip) for one in tqdm(settings, unit="setting", desc=clip.name)]
    objects = sum(int((frame.scores > CERTAIN).sum()) for frame in clip.unsplit)
    found = {"name": clip.name, "frames": len(clip.frames), "objects": objects}
    if clip.judged is not None:
        found["unsplit_judge"] = round(fidelity(clip.judged, clip.unsplit), 2)  # the most that can be had
    return {**found, "rows": rows}


def _row(one: Setting, clip: Clip) -> dict[str, Any]:
    system = one.make(clip.eyes)
    sizes, times, processor, found = [], [], [], []
    for number, frame in enumerate(clip.frames):
        canvas = system.fit(frame)
        begin, busy = time.perf_counter(), time.process_time()
        payload = system.encode(canvas)
        processor.append(time.process_time() - busy)
        times.append(time.perf_counter() - begin)
        sizes.append(len(payload))
        received = system.receive(payload)
        if number in clip.looked:
            found.append(system.look(received))
    judged = {} if clip.judged is None else {"fidelity_judge": round(fidelity(clip.judged, found), 2)}
    return {
        "system": one.system,
        "setting": one.setting,
        "bytes_first": sizes[0],
        "bytes_mean": round(float(np.mean(sizes[1:])), 1),
        "bytes_p95": round(float(np.percentile(sizes[1:], 95)), 1),
        "fidelity": round(fidelity(clip.unsplit, found), 2),
        **judged,
        "device_ms": round(1000 * float(np.median(times)), 2),
        "device_cpu_ms": round(1000 * float(np.mean(processor)), 2),
    }


SUMMARY = "bytes and fidelity of video: changes against images, H.264, H.265, tiled latents and frame filtering"
BENCHMARK = Benchmark("video", SUMMARY, _add_arguments, run)
