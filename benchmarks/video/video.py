"""Video over a thin link: frames alone, frames as changes, images and video codecs, by bytes and by what is found.

All get the same frames, as the device scales them for each, and go through real bitstreams. The first frame has
nothing to build on and is reported apart.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import sample_images
from benchmarks.video.beside import SHAPE, read_beside
from benchmarks.video.eyes import Eyes, WholeDetector
from benchmarks.video.fidelity import CERTAIN, fidelity
from benchmarks.video.frame_labels import read_labels
from benchmarks.video.measured_clip import Clip, device_times, figures
from benchmarks.video.settings import settings_of
from benchmarks.video.systems import Setting
from benchmarks.video.video_figures import ratios
from benchmarks.video.video_plot import draw_video
from splitnet.bundle import ServerBundle, load_device, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.settings import DEFAULT_BUNDLE
from training.data.clips import Image, frames_apart, still, turning, video_frames
from training.data.coco_file import read_json

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "video"
MADE = {"still": still, "turning": turning}  # a camera that rests on a photograph, and one that turns over it
KEPT = ("bundle", "judge", "fps", "clips", "ratios", "ratios_by_judge")  # of a result, the rest is where it was made


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the bundle (%(default)s)")
    add("--clips", type=Path, nargs="*", default=sorted(DATA.glob("*.mp4")), metavar="FILE", help="any videos")
    about_made = "clips that are made here of a photograph: a camera that rests, and one that turns (default: both)"
    add("--made", nargs="*", choices=MADE, default=list(MADE), metavar="CLIP", help=about_made)
    add("--fps", type=float, default=10.0, help="frames a second that are taken of each clip, about (%(default)s)")
    add("--frames", type=int, default=200, help="of each clip, at most (%(default)s)")
    add("--look-every", type=int, default=2, help="every how many frames are judged; all are coded (%(default)s)")
    add("--qualities", type=int, nargs="+", default=[1, 3, 5, 7, 9, 10], help="of the bundle (%(default)s)")
    add("--time-frames", type=int, default=30, help="of each clip that the device's time is taken of (%(default)s)")
    about_add = "clips that were measured before; what is measured now takes the place of those of the same name"
    add("--add", type=Path, nargs="+", default=(), metavar="FILE.json", help=about_add)
    about_beside = f"another system's curves on the same frames of the same clips: {SHAPE}"
    add("--beside", type=Path, nargs="+", default=(), metavar="FILE.json", help=about_beside)
    about_times = "take only the device's times anew, on a quiet machine, and put them into these figures"
    add("--times-of", type=Path, metavar="FILE.json", help=about_times)
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
    device.encoder.use_onnxruntime(1)
    device.codec.warm_up()
    settings = _chosen(settings_of(device, options.qualities, not options.no_stream), options.systems)
    if options.times_of is not None:
        return _with_times(options, server, settings, device.manifest.digest)
    beside = read_beside(options.beside)
    judge = None if options.judge is None else WholeDetector.read(options.judge, options.judge_detector)
    before = [clip for path in options.add for clip in _of_bundle(path, device.manifest.digest)["clips"]]
    now = [_measured(clip, settings, options.time_frames) for clip in _clips(options, server, judge)]
    clips = list({clip["name"]: clip for clip in [*before, *now]}.values())
    clips = [{**clip, "rows": [*clip["rows"], *beside.get(clip["name"], ())]} for clip in clips]
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


def _with_times(
    options: Namespace, server: ServerBundle, settings: Sequence[Setting], digest: str
) -> dict[str, object]:
    """Return the figures of --times-of with the device's times of now."""
    result = _of_bundle(options.times_of, digest)
    makes = {(one.system, one.setting): one for one in settings}
    by_name = {clip["name"]: clip for clip in result["clips"]}
    for clip in _clips(options, server, None, by_name):
        for row in tqdm(by_name[clip.name]["rows"], unit="setting", desc=clip.name):
            one = makes.get((row["system"], row["setting"]))
            if one is not None:
                row.update(device_times(one, clip, options.time_frames))
    return result


def _of_bundle(path: Path, digest: str) -> dict[str, Any]:
    """Return the figures of an earlier measurement. ConfigError unless it was of the same bundle."""
    result = {name: kept for name, kept in read_json(path, ["clips"]).items() if name in KEPT}
    if result.get("bundle", {}).get("digest") != digest:
        raise ConfigError(f"{path} is of another bundle: measure it whole")
    return result


def _check(options: Namespace) -> None:
    if not (options.clips or options.made or options.add):
        raise ConfigError("there is no clip: give videos to --clips")
    if options.frames < 3 or options.look_every < 1 or options.time_frames < 1 or not options.fps > 0:
        raise ConfigError("--frames must be at least 3, --look-every and --time-frames at least 1, --fps positive")


def _chosen(settings: Sequence[Setting], names: Sequence[str] | None) -> list[Setting]:
    chosen = [one for one in settings if names is None or one.system.startswith(tuple(names))]
    if not chosen:
        raise ConfigError(
            f"no system is called so; there are {', '.join(dict.fromkeys(one.system for one in settings))}"
        )
    return chosen


def _clips(
    options: Namespace, server: ServerBundle, judge: WholeDetector | None, wanted: Container[str] | None = None
) -> Iterator[Clip]:
    """Yield the clips of the command line, and those that are made here; wanted: only those, and unjudged."""
    count, sight = options.frames, _Sight(server, judge, options.look_every if wanted is None else 0)
    for path in options.clips:
        if wanted is None or path.stem in wanted:
            labels = read_labels(path, server.manifest.class_names) or {}
            every = frames_apart(path, options.fps)
            taken = {number // every: found for number, found in labels.items() if number % every == 0}
            yield sight.clip(path.stem, video_frames(path, options.fps, count), taken)
    for name in options.made:
        if wanted is None or name in wanted:
            room = next(iter(sample_images().values()))
            yield sight.clip(name, list(MADE[name](room, np.random.default_rng(0), count)), {})


@dataclass(frozen=True)
class _Sight:
    """Whoever says what there is to be found, and in which frames."""

    server: ServerBundle
    judge: WholeDetector | None
    look_every: int  # 0: nobody looks

    def clip(self, name: str, frames: Sequence[Image], labels: Mapping[int, Detections]) -> Clip:
        """Return a clip with what is found in it."""
        server, size = self.server, self.server.manifest.input_size
        if server.detector is None:
            raise ConfigError("the bundle has no unsplit detector, whose boxes fidelity is about")
        # The full width's canvas, for all: an unsplit detector that fills its square sees most if the device fills it.
        box = server.manifest.fit(frames[0].shape[1], frames[0].shape[0], server.manifest.widths)
        eyes = Eyes(server, WholeDetector(server.detector, size), box, {})
        looked = range(1, len(frames), self.look_every) if self.look_every else range(0)
        unsplit = [eyes.image(box.apply(frames[i])) for i in looked]
        judged = None if self.judge is None else [self.judge.look(box.apply(frames[i]), box) for i in looked]
        return Clip(name, frames, looked, unsplit, judged, eyes, labels)


def _measured(clip: Clip, settings: Sequence[Setting], time_frames: int) -> dict[str, Any]:
    rows = [
        figures(one, clip) | device_times(one, clip, time_frames)
        for one in tqdm(settings, unit="setting", desc=clip.name)
    ]
    objects = sum(int((frame.scores > CERTAIN).sum()) for frame in clip.unsplit)
    found = {"name": clip.name, "frames": len(clip.frames), "objects": objects}
    if clip.judged is not None:
        found["unsplit_judge"] = round(fidelity(clip.judged, clip.unsplit), 2)  # the most that can be had
    return {**found, "rows": rows}


SUMMARY = "bytes and fidelity of video: changes against images, H.264, H.265, tiled latents and frame filtering"
BENCHMARK = Benchmark("video", SUMMARY, _add_arguments, run)
