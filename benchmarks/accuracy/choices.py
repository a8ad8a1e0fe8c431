"""The choices that a device has: detect alone, send an image, or split. One run, one core, each by its best back end.

Each image goes through all of them in turn, so that whatever else the machine does touches all alike. Times cover
everything that the device does for a frame, from its pixels to the payload or the boxes; medians.
"""

from __future__ import annotations

import math
import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.rate_figures import Row
from benchmarks.accuracy.resampling import Sample
from benchmarks.accuracy.server_times import server_times
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.bootstrap import draw, interval
from benchmarks.harness.labelled_options import add_labelled
from edge_client.encoding.backends import AUTO, start_backend
from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_local_detector, load_server
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox, stretched_canvas
from splitnet.manifest import Manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.nn.architectures import INPUT_SIZES
from splitnet.nn.detector import Detector
from splitnet.nn.onnx_network import OnnxNetwork
from splitnet.settings import DEFAULT_BUNDLE
from training.detectors.teacher import read_teacher
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import detection_cache_of
from training.evaluation.measure import Tally, measure, mmacs
from training.evaluation.systems import LocalSystem, System, fills, system_of
from training.local import local_mmacs

RESAMPLES = 200
KNEE_AP = 2.0  # that twice the bytes must gain for a point to stand for its width: links are narrow, curves flatten


@dataclass
class OnnxLocalSystem(LocalSystem):
    """A detector that the device runs alone by ONNX Runtime on one thread."""

    def __post_init__(self) -> None:
        """Export the network. ConfigError without ONNX Runtime."""
        self._network = OnnxNetwork(self.detector, None, threads=1)

    def compress(self, frame: NDArray[Any], box: Letterbox) -> bytes:
        """Fit a BGR frame (H, W, 3) and run the detector, up to raw predictions; nothing is sent."""
        canvas = box.apply(frame)
        if fills(self.detector):
            canvas = stretched_canvas(canvas, self.input_size)
        self._raw = torch.from_numpy(self._network(canvas))[None]
        return b""


@dataclass(frozen=True)
class Choice:
    """One way to use a device."""

    kind: str  # "local", "image" or "split"
    name: str
    system: System
    mmacs: float  # millions of multiply-accumulates on the device, a 4:3 frame


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    add_labelled(parser)
    add(
        "--local",
        nargs="*",
        default=[],
        metavar="NAME=FILE",
        help="further detectors that a device could run alone: a detector's name and its weights; they must know the "
        "bundle's classes",
    )


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each choice."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device, server = load_device(options.bundle), load_server(options.bundle)
    manifest = device.manifest
    labelled = LabelledSet(options.images, options.annotations, manifest.class_names, options.limit)
    choices = [*_local_choices(device, options.local), *_served_choices(device, server)]
    backend = start_backend(device.encoder, AUTO, threads=1)
    device.codec.warm_up()
    with detection_cache_of(manifest.digest) as cache:
        tallies = measure([one.system for one in choices], labelled, cache=cache)
    counts = draw(len(labelled.images), RESAMPLES, seed=0)
    rows = [
        _row(one, tally, Sample.of(labelled.matches(tally.found), tally, counts))
        for one, tally in zip(choices, tallies, strict=True)
    ]
    name = f"{manifest.name} {manifest.digest[:12]}"
    times = server_times(options.bundle, options.images)
    return {"bundle": name, "backend": backend, "images": len(labelled.images), "choices": rows, "server": times}


BENCHMARK = Benchmark("choices", "what a device can do: detect alone, send an image, split", _add_arguments, run)


def _row(one: Choice, tally: Tally, sample: Sample) -> Row:
    low, high = interval(sample.ap)
    return {
        "kind": one.kind,
        "name": one.name,
        "ap": round(float(sample.ap[0]), 2),
        "ap_low": None if low is None else round(low, 2),
        "ap_high": None if high is None else round(high, 2),
        "bytes_mean": round(statistics.fmean(tally.sizes), 1),
        "device_mmacs": round(one.mmacs, 2),
        "device_ms_p50": round(statistics.median(tally.encode_ms), 3),
    }


def _local_choices(device: DeviceBundle, named: Sequence[str]) -> Iterator[Choice]:
    """Yield the bundle's own local detector, and those that are named on the command line, lightest first."""
    own = device.manifest.local_detector
    detector = load_local_detector(device.folder, device.manifest)
    found = [] if own is None or detector is None else [(own.detector, detector, own.input_size)]
    found += [_named(one, device.manifest) for one in named]
    costs = [(local_mmacs(detector, size), name, detector, size) for name, detector, size in found]
    for macs, name, detector, size in sorted(costs, key=lambda one: one[0]):
        yield Choice("local", name, OnnxLocalSystem(detector.eval(), size), macs)


def _named(text: str, manifest: Manifest) -> tuple[str, Detector, int]:
    name, separator, file = text.partition("=")
    if not separator or name not in INPUT_SIZES:
        raise ConfigError(f"--local {text}: give NAME=FILE, where NAME is one of {', '.join(INPUT_SIZES)}")
    return name, read_teacher(Path(file), name, manifest.class_names), INPUT_SIZES[name]


def _served_choices(device: DeviceBundle, server: ServerBundle) -> Iterator[Choice]:
    for measured in worthwhile(device.manifest.points):
        point = measured.point
        if measured.width or server.detector is not None:
            kind = "split" if measured.width else "image"
            yield Choice(kind, str(point), system_of(device, server, point), mmacs(device, point))


def worthwhile(points: Iterable[MeasuredPoint]) -> list[MeasuredPoint]:
    """Return the point of each codec and width at which more bytes stop being worth it, images first.

    It is where the curve of AP over bytes begins to flatten (KNEE_AP). ConfigError if none was measured.
    """
    best: dict[tuple[str, int], MeasuredPoint] = {}
    for one in points:
        place = (one.codec.name if not one.width else "", one.width)
        if place not in best or _worth(one) > _worth(best[place]):
            best[place] = one
    if not best:
        raise ConfigError("the bundle was not measured: run `python -m training evaluate --write-manifest` first")
    return [best[place] for place in sorted(best, key=lambda place: (place[1], place[0]))]


def _worth(one: MeasuredPoint) -> float:
    return one.ap - KNEE_AP * math.log2(one.bytes_mean)
