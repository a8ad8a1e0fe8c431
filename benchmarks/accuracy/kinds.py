"""Kinds of encoders at equal computation and bytes; what one training for all points loses to one for a single point.

All bundles are measured on the same labelled images, through real bitstreams. AP at given bytes is that of the best of
a bundle's points whose width costs no more than is given, interpolated over the logarithm of the bytes. (3 % are
forgiven: channels are whole numbers.) Encode times are not compared: they depend on the machine, multiply-accumulates
do not.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import torch

from benchmarks.accuracy.kinds_figures import Split, alone_rows, equal_rows
from benchmarks.accuracy.kinds_plot import draw_kinds
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.labelled_options import add_labelled, check_drawn
from splitnet.bundle import load_device, load_server
from splitnet.dominated import dominated
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy, Manifest, load_manifest
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import detection_cache_of
from training.evaluation.measure import evaluate, operating_points

SIZES_BYTES = (500, 1000, 2000, 3000, 4000)


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--bundles",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="what to compare; rows are the costs of the first one's widths",
    )
    add(
        "--alone",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="bundles of points that were trained alone (`distill --only`), to compare with those of their kind",
    )
    add_labelled(parser)
    add("--bytes", type=int, nargs="+", default=SIZES_BYTES, metavar="N", help="sizes of a frame to compare at")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the figures, and draw them beside --out: FILE-light.png and FILE-dark.png."""
    check_drawn(options, "limit", "threads")
    if min(options.bytes) < 1:
        raise ConfigError(f"--bytes must be positive, not {min(options.bytes)}")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    folders = [*options.bundles, *options.alone]
    manifests = [load_manifest(folder) for folder in folders]
    _check_comparable(folders, manifests, len(options.bundles))
    labelled = LabelledSet(options.images, options.annotations, manifests[0].class_names, options.limit)
    measured = [_measured(folder, labelled) for folder in folders]
    splits = [split for split, _ in measured]
    compared, alone = splits[: len(options.bundles)], splits[len(options.bundles) :]
    unsplit = measured[0][1]
    result: dict[str, object] = {
        "images": len(labelled.images),
        "unsplit_ap": None if unsplit is None else round(unsplit.ap, 2),
        "bundles": [{**split.row(), "dominated": len(dominated(split.points))} for split in compared],
        "equal": equal_rows(compared, options.bytes),
        "alone": alone_rows(compared, alone),
        "points": [{"bundle": split.name, **asdict(point)} for split in splits for point in split.points],
    }
    if options.out is not None:
        draw_kinds(options.out, compared)
    return result


BENCHMARK = Benchmark("kinds", "kinds of encoders at equal multiply-accumulates and bytes", _add_arguments, run)


def _check_comparable(folders: Sequence[Path], manifests: Sequence[Manifest], compared: int) -> None:
    """Raise ConfigError unless names differ, classes do not, and the first ones have the same detector's square."""
    first = manifests[0]
    for i, (folder, manifest) in enumerate(zip(folders, manifests, strict=True)):
        if manifest.class_names != first.class_names or (i < compared and manifest.input_size != first.input_size):
            raise ConfigError(f"{folder} has another input size or other classes than {first.name}: not comparable")
        if sum(other.name == manifest.name for other in manifests) > 1:
            raise ConfigError(f"{folder} has the name of another bundle, {manifest.name}: rename one of them")


def _measured(folder: Path, labelled: LabelledSet) -> tuple[Split, Accuracy | None]:
    """Measure every split point of a bundle; returns them and what its unsplit detector reaches."""
    device, server = load_device(folder), load_server(folder)
    points = operating_points(device, with_images=False)
    with detection_cache_of(device.manifest.digest) as cache:
        result = evaluate(device, server, labelled, points, cache)
    return Split(device.manifest.name, device.manifest.encoder.kind, result.points), result.unsplit
