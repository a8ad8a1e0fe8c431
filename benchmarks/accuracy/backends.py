"""The back ends of the encoder: time, symbols, bytes and accuracy of each, beside PyTorch's.

All in one run on the same labelled images, one thread, in turns image by image. Times are the encoding thread's
processor time from the frame to the payload. Other work on the machine disturbs it less than the clock's. A ratio is
the median over images of the ratio to PyTorch's time for the same image.
"""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.labelled_options import add_labelled
from edge_client.encoding.backends import ONNXRUNTIME, TORCH, start_backend
from splitnet.bundle import DeviceBundle, load_device, load_server
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE
from training.data.images import read_image
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import detection_cache_of
from training.evaluation.measure import Tally, measure
from training.evaluation.systems import SplitSystem

TIMED_IMAGES = 40

Image = NDArray[np.uint8]  # (H, W, 3) BGR
Halves = Mapping[str, DeviceBundle]  # by what runs them, PyTorch first


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    add_labelled(parser)
    add("--qualities", type=int, nargs="+", metavar="Q", help="at full width (default: a low, middle and high one)")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of the server's part (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return what each back end costs at each width, and what it gives at each quality of the full width."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    server, halves = load_server(options.bundle), _halves(options.bundle)
    manifest = server.manifest
    qualities = list(dict.fromkeys(options.qualities or [manifest.qualities * share // 8 for share in (1, 4, 7)]))
    if not all(0 <= quality < manifest.qualities for quality in qualities):
        raise ConfigError(f"--qualities must be 0..{manifest.qualities - 1}")
    labelled = LabelledSet(options.images, options.annotations, manifest.class_names, options.limit)
    points = [OperatingPoint(Codec.RANS, manifest.widths, quality) for quality in qualities]
    systems = [SplitSystem(half, server, point) for half in halves.values() for point in points]
    with detection_cache_of(manifest.digest) as cache:
        tallies = iter(measure(systems, labelled, options.threads, cache))
    frames = [image.path for image in labelled.images]
    return {
        "bundle": f"{manifest.name} {manifest.digest[:12]}",
        "onnxruntime": metadata.version("onnxruntime"),
        "images": len(frames),
        "backends": [row for width in range(1, manifest.widths + 1) for row in times(halves, frames, width)],
        "points": [
            {"backend": name, "quality": point.quality, **found, **_gives(labelled, next(tallies))}
            for name, differing in differences(halves, frames, qualities).items()
            for point, found in zip(points, differing, strict=True)
        ],
    }


BENCHMARK = Benchmark("backends", "what runs the encoder: PyTorch or ONNX Runtime", _add_arguments, run)


def _halves(folder: Path) -> dict[str, DeviceBundle]:
    """Return the device's half once for each way to run it. ConfigError without ONNX Runtime."""
    halves = {TORCH: load_device(folder), ONNXRUNTIME: load_device(folder)}
    start_backend(halves[ONNXRUNTIME].encoder, ONNXRUNTIME, threads=1)
    return halves


def times(halves: Halves, paths: Sequence[Path], width: int) -> list[dict[str, object]]:
    """Return a row for each half: milliseconds of a frame at a width and the middle quality, and beside PyTorch's."""
    spent: dict[str, list[float]] = {name: [] for name in halves}
    for frame in _frames(paths[:TIMED_IMAGES], f"timing w{width}"):
        for name, half in halves.items():
            _encode(half, frame, width)  # warm: canvases differ in size
            begin = time.thread_time()
            _encode(half, frame, width)
            spent[name].append(1e3 * (time.thread_time() - begin))
    yardstick = next(iter(spent.values()))
    return [
        {
            "backend": name,
            "width": width,
            "encode_cpu_ms_p50": statistics.median(found),
            "of_torch": statistics.median(one / other for one, other in zip(found, yardstick, strict=True)),
        }
        for name, found in spent.items()
    ]


def _encode(half: DeviceBundle, frame: Image, width: int) -> bytes:
    box = half.manifest.fit(frame.shape[1], frame.shape[0], width)
    quality = half.manifest.qualities // 2
    return half.codec.compress(half.encoder.encode(box.apply(frame), width, quality), width, quality)


def differences(halves: Halves, paths: Sequence[Path], qualities: Sequence[int]) -> dict[str, list[dict[str, object]]]:
    """Return for each half and quality which share of the full width's symbols differs from PyTorch's, and how far."""
    shape = len(halves), len(qualities)
    symbols, differing, furthest = 0, np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for frame in _frames(paths, "comparing"):
        found = np.stack([_symbols(half, frame, qualities) for half in halves.values()]).astype(np.int32)
        distance = np.abs(found - found[0]).reshape(*shape, -1)
        symbols += distance.shape[2]
        differing += (distance > 0).sum(axis=2)
        furthest = np.maximum(furthest, distance.max(axis=2))
    return {
        name: [
            {"symbols": symbols, "differing": int(differing[i, j]), "furthest": int(furthest[i, j])}
            for j in range(len(qualities))
        ]
        for i, name in enumerate(halves)
    }


def _symbols(half: DeviceBundle, frame: Image, qualities: Sequence[int]) -> NDArray[np.int16]:
    """Return the symbols (Q, C, h, w) of a frame at full width."""
    width = half.manifest.widths
    canvas = half.manifest.fit(frame.shape[1], frame.shape[0], width).apply(frame)
    latent = half.encoder.latent(canvas, width)
    return np.stack([half.encoder.quantise(latent, width, quality) for quality in qualities])


def _gives(labelled: LabelledSet, tally: Tally) -> dict[str, object]:
    accuracy = labelled.accuracy(tally.found)
    return {"bytes_mean": round(float(np.mean(tally.sizes)), 1), "ap": accuracy.ap, "ap50": accuracy.ap50}


def _frames(paths: Sequence[Path], what: str) -> Iterator[Image]:
    for path in progress(paths, desc=what, unit="image"):
        frame = read_image(path)
        if frame is None:
            raise ConfigError(f"{path} is not a readable image")
        yield frame
