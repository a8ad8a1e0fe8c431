"""Video over a thin link: frames alone, frames as changes, images and video codecs, by bytes and by what is found.

All codecs get the same canvases, as the device scales them, and go through real bitstreams. The first frame has
nothing to build on and is reported apart.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.harness.benchmark import Benchmark
from benchmarks.video.fidelity import fidelity
from benchmarks.video.systems import Canvas, Setting, settings_of
from benchmarks.video.video_figures import ratios
from benchmarks.video.video_plot import draw_video
from splitnet.bundle import ServerBundle, load_device, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.nn.architectures import architecture_of
from splitnet.nn.split_detector import image_input
from splitnet.settings import DEFAULT_BUNDLE
from training.data.clips import video_frames

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "video"
SCORE_THRESHOLD = 0.01  # low, so that a precision-recall curve is whole


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the bundle (%(default)s)")
    add("--clips", type=Path, nargs="+", default=sorted(DATA.glob("*.mp4")), metavar="FILE", help="any videos")
    add("--fps", type=float, default=10.0, help="frames a second that are taken of each clip, about (%(default)s)")
    add("--frames", type=int, default=200, help="of each clip, at most (%(default)s)")
    add("--look-every", type=int, default=2, help="every how many frames are judged; all are coded (%(default)s)")
    add("--qualities", type=int, nargs="+", default=[1, 3, 5, 7, 9, 10], help="of the bundle (%(default)s)")
    add("--no-stream", action="store_true", help="leave out the video codecs, which need PyAV")


def run(options: Namespace) -> dict[str, object]:
    """Return the figures of each clip, and draw them beside --out: FILE-light.png and FILE-dark.png."""
    if not options.clips:
        raise ConfigError("there is no clip: give videos to --clips")
    if options.frames < 3 or options.look_every < 1:
        raise ConfigError("--frames must be at least 3, --look-every at least 1")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device, server = load_device(options.bundle), load_server(options.bundle)
    device.codec.warm_up()
    settings = settings_of(device, server, options.qualities, not options.no_stream)
    clips = [_clip(path, settings, server, options) for path in options.clips]
    if options.out is not None:
        draw_video(options.out, clips)
    return {
        "bundle": {"name": device.manifest.name, "digest": device.manifest.digest},
        "fps": options.fps,
        "clips": clips,
        "ratios": [row for clip in clips for row in ratios(clip)],
    }


def _clip(path: Path, settings: Sequence[Setting], server: ServerBundle, options: Namespace) -> dict[str, Any]:
    size = server.manifest.input_size
    frames = video_frames(path, options.fps, options.frames)
    height, width = frames[0].shape[:2]
    box = Letterbox.fit(width, height, size)
    canvases = [box.apply(frame) for frame in frames]
    looked = range(1, len(canvases), options.look_every)
    assert server.detector is not None
    with torch.inference_mode():
        truth = [_detections(server, server.detector(image_input(canvases[i], size)[None])) for i in looked]
    rows = [_row(one, canvases, looked, truth, server) for one in tqdm(settings, unit="setting", desc=path.stem)]
    objects = sum(int((frame.scores > 0.3).sum()) for frame in truth)
    return {"name": path.stem, "frames": len(canvases), "objects": objects, "rows": rows}


def _row(
    one: Setting, canvases: Sequence[Canvas], looked: range, truth: Sequence[Detections], server: ServerBundle
) -> dict[str, Any]:
    system = one.make((canvases[0].shape[1], canvases[0].shape[0]))
    sizes, times, found = [], [], []
    for number, canvas in enumerate(canvases):
        begin = time.perf_counter()
        payload = system.encode(canvas)
        times.append(time.perf_counter() - begin)
        sizes.append(len(payload))
        received = system.receive(payload)
        if number in looked:
            found.append(_detections(server, system.look(received)))
    return {
        "system": one.system,
        "setting": one.setting,
        "bytes_first": sizes[0],
        "bytes_mean": round(float(np.mean(sizes[1:])), 1),
        "bytes_p95": round(float(np.percentile(sizes[1:], 95)), 1),
        "fidelity": round(fidelity(truth, found), 2),
        "device_ms": round(1000 * float(np.median(times)), 2),
    }


def _detections(server: ServerBundle, raw: torch.Tensor) -> Detections:
    manifest = server.manifest
    return architecture_of(manifest.detector).detections(raw, manifest.input_size, SCORE_THRESHOLD)[0]


SUMMARY = "bytes and fidelity of video: changes against JPEG, WebP, H.264 and H.265"
BENCHMARK = Benchmark("video", SUMMARY, _add_arguments, run)
