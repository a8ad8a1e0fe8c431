"""Accuracy against bytes: every operating point of a bundle, and the image codecs a user would take instead.

All in one run on the same labelled images, through real bitstreams. Encode times are those of one thread and cover
everything from the frame to the payload, scaling and colour conversion included; medians. The yardstick is the whole
detector on the same thread, from the frame to raw predictions. Only the servers' parts may use more threads.
"""

from __future__ import annotations

import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.accuracy.image_rivals import rivals
from benchmarks.accuracy.rate_figures import ANY, Measured, Row, bd_rows, lead_rows
from benchmarks.accuracy.rate_plot import draw_rate
from benchmarks.accuracy.resampling import Sample
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.bootstrap import draw
from benchmarks.harness.labelled_options import add_labelled, check_drawn
from edge_client.encoding.backends import AUTO, BACKENDS, start_backend
from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.manifest import Manifest
from splitnet.nn.blocks import place
from splitnet.nn.detector import Detector
from splitnet.nn.macs import count_macs
from splitnet.nn.yolox.onnx_reader import read_onnx
from splitnet.settings import DEFAULT_BUNDLE
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import DetectionCache, detection_cache_of
from training.evaluation.measure import Tally, measure, mmacs, operating_points
from training.evaluation.systems import SplitSystem, System, UnsplitSystem

BUNDLED, PUBLIC = "bundled", "public"  # detectors
UNSPLIT = "unsplit"


@dataclass(frozen=True)
class _Entry:
    """A system and how its rows name it."""

    system: System
    curve: str
    setting: str
    size: int
    quality: int
    mmacs: float


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    add_labelled(parser)
    add("--widths", type=int, nargs="*", default=[], metavar="W", help="only these widths (default: all)")
    add(
        "--public-detector",
        type=Path,
        metavar="FILE.onnx",
        help="send the rivals' images to this detector, not to the bundle's, which minds compression less",
    )
    add(
        "--rival-bundles",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="other splits, such as those without training: each is a curve of its bundle's name",
    )
    add("--backend", choices=BACKENDS, default=AUTO, help="what runs the bundle's encoder (%(default)s)")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of the servers' parts (%(default)s)")
    add("--resamples", type=int, default=200, metavar="N", help="of the images, for the bands (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the resamples (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the figures, and draw them beside --out: FILE-light.png and FILE-dark.png."""
    check_drawn(options, "limit", "threads", "resamples")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device, server = load_device(options.bundle), load_server(options.bundle)
    backend = start_backend(device.encoder, options.backend, threads=1)
    manifest = device.manifest
    labelled = LabelledSet(options.images, options.annotations, manifest.class_names, options.limit)
    detectors = _detectors(server, manifest, options.public_detector)
    entries = [
        *_split_entries(device, server, options.widths),
        *(entry for folder in options.rival_bundles for entry in _bundle_entries(folder, manifest)),
        *_rival_entries(detectors, manifest),
        *(_unsplit_entry(name, detector, manifest.input_size) for name, detector in detectors.items()),
    ]
    with detection_cache_of(manifest.digest) as cache:
        points = _measure(entries, labelled, options, cache)
    result = {
        "bundle": f"{manifest.name} {manifest.digest[:12]}",
        "backend": backend,
        "images": len(labelled.images),
        "resamples": options.resamples,
        "rivals_detector": list(detectors)[-1],
        "unsplit": [_unsplit_row(point) for point in points if point.setting == UNSPLIT],
        **_figures([point for point in points if point.setting != UNSPLIT]),
    }
    if options.out is not None:
        draw_rate(options.out, result)
    return result


BENCHMARK = Benchmark("rate", "accuracy against bytes, of a bundle and of image codecs", _add_arguments, run)


def _detectors(server: ServerBundle, manifest: Manifest, public: Path | None) -> dict[str, Detector]:
    """Return the whole detectors by name; the images of the rivals go to the last one."""
    found: dict[str, Detector] = {} if server.detector is None else {BUNDLED: server.detector}
    if public is not None:
        found[PUBLIC] = read_onnx(public, manifest.detector, len(manifest.class_names))
    if not found:
        raise ConfigError("the bundle has no whole detector for the rivals: name one with --public-detector")
    return {name: place(detector.eval(), torch.device("cpu")) for name, detector in found.items()}


def _split_entries(device: DeviceBundle, server: ServerBundle, widths: Sequence[int]) -> list[_Entry]:
    device.codec.warm_up()
    place(server.half, torch.device("cpu"))
    points = operating_points(device, widths, with_images=False)
    if not all(1 <= point.width <= device.manifest.widths for point in points):
        raise ConfigError(f"the bundle has widths 1..{device.manifest.widths}")
    macs = {point.width: mmacs(device, point) for point in points}
    sides = device.manifest.sides
    return [
        _Entry(SplitSystem(device, server, p), f"w{p.width}", "split", sides[p.width - 1], p.quality, macs[p.width])
        for p in points
    ]


def _bundle_entries(folder: Path, compared: Manifest) -> list[_Entry]:
    """Return the points of another split as one curve. ConfigError if it does not see what the compared one sees."""
    device, server = load_device(folder), load_server(folder)
    manifest = device.manifest
    if (manifest.input_size, manifest.class_names) != (compared.input_size, compared.class_names):
        raise ConfigError(f"{folder} has another input size or other classes than {compared.name}: not comparable")
    if manifest.name == compared.name:
        raise ConfigError(f"{folder} has the name of the bundle that it is compared with: rename one of them")
    found = _split_entries(device, server, ())
    return [replace(entry, curve=manifest.name, setting=f"bundle {entry.curve}") for entry in found]


def _rival_entries(detectors: dict[str, Detector], manifest: Manifest) -> list[_Entry]:
    detector = list(detectors.values())[-1]
    return [
        _Entry(one, one.setting.codec, one.setting.name, one.size, one.quality, 0.0)
        for one in rivals(detector, manifest.input_size)
    ]


def _unsplit_entry(name: str, detector: Detector, size: int) -> _Entry:
    macs = count_macs(detector, lambda: detector(torch.zeros(1, 3, size, size)))
    return _Entry(UnsplitSystem(detector, size), name, UNSPLIT, size, 0, macs / 1e6)


def _measure(
    entries: Sequence[_Entry], labelled: LabelledSet, options: Namespace, cache: DetectionCache
) -> list[Measured]:
    """Run every image through every entry, and every entry's detections through every resample."""
    tallies = measure([entry.system for entry in entries], labelled, options.threads, cache)
    counts = draw(len(labelled.images), options.resamples, options.seed)
    return [
        _measured(entry, tally, Sample.of(labelled.matches(tally.found), tally, counts))
        for entry, tally in zip(entries, progress(tallies, desc="scoring", unit="point"), strict=True)
    ]


def _measured(entry: _Entry, tally: Tally, sample: Sample) -> Measured:
    return Measured(
        curve=entry.curve,
        setting=entry.setting,
        size=entry.size,
        quality=entry.quality,
        bytes_p90=float(np.percentile(tally.sizes, 90)),
        encode_ms_p50=statistics.median(tally.encode_ms),
        mmacs=entry.mmacs,
        sample=sample,
    )


def _unsplit_row(point: Measured) -> Row:
    """Return what a whole detector finds in uncompressed images, and what it costs on the device's thread."""
    row = point.row()
    kept = {key: row[key] for key in ("ap", "ap_low", "ap_high", "ap50")}
    return {"detector": point.curve, **kept, "detect_ms_p50": row["encode_ms_p50"], "mmacs": row["mmacs"]}


def _figures(points: Sequence[Measured]) -> dict[str, object]:
    widths = sorted({point.curve for point in points if point.setting == "split"}, key=lambda name: int(name[1:]))
    several = [ANY] if len(widths) > 1 else []
    ends = list(dict.fromkeys([*several, widths[-1], widths[0]]))
    return {
        "points": [point.row() for point in points],
        "bd_rate": bd_rows(points, [*several, *widths]),
        "leads": lead_rows(points, ends),
    }
