"""A check of the study of cuts: do short trainings rank them as principal components do?

A front is distilled at each cut: same images, steps, prices and seed. What it then gives for its bytes is
compared with what `python -m training split-points` has found without training, at equal bytes, on the same images.
A training that was interrupted goes on; one that is through is only measured.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.rate_curve import RateCurve, front
from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.nn.architectures import SPLIT_POINTS
from training.cuts.figures import CutStudy, cut_from_json
from training.distill import train_split
from training.distillation.settings import DistillSettings
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import detection_cache_of
from training.evaluation.measure import evaluate, operating_points

SIZES_BYTES = (1500, 2000, 3000, 4000, 6000, 8000)
Row = dict[str, Any]


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--weights", type=Path, required=True, metavar="FILE", help="the detector that the study was made of")
    add("--images", type=Path, required=True, metavar="DIR", help="labelled images, those of the study")
    add("--annotations", type=Path, required=True, metavar="FILE", help="their COCO annotations")
    training = "images to train on, without labels"
    add("--training-images", "--photographs", type=Path, required=True, metavar="DIR", help=training)
    add("--study", type=Path, required=True, metavar="FILE.json", help="figures of `python -m training split-points`")
    add("--runs", type=Path, required=True, metavar="DIR", help="where the trainings and their bundles go")
    add("--cuts", nargs="+", default=["stem", "dark2", "dark3"], choices=SPLIT_POINTS, help="which (%(default)s)")
    add("--steps", type=int, default=250, help="of training, for each cut (%(default)s)")
    add("--batch-size", type=int, default=8, help="crops a step (%(default)s)")
    add("--square", type=int, default=256, help="side of the crops in pixels (%(default)s)")
    tables = "to fit the entropy tables on, at most (%(default)s)"
    add("--table-images", "--table-photographs", type=int, default=200, metavar="N", help=tables)
    add("--threads", type=int, help="CPU threads of the trainings (default: torch's choice)")


def run(options: Namespace) -> dict[str, object]:
    """Train and measure at each cut; returns a row for each point, and one for each size of a frame."""
    study = _read(options.study)
    free = {cut.cut: cut for cut in map(cut_from_json, study["cuts"])}
    unknown = [cut for cut in options.cuts if cut not in free]
    if unknown:
        raise ConfigError(f"{options.study} has no figures of {unknown[0]}: measure that cut first")
    points = [point for cut in options.cuts for point in _trained_points(cut, options, study)]
    return {
        "model": study["model"],
        "images": study["images"],
        "steps": options.steps,
        "batch_size": options.batch_size,
        "square": options.square,
        "study_commit": study["commit"],
        "points": points,
        "ranks": ranks(points, [free[cut] for cut in options.cuts]),
    }


BENCHMARK = Benchmark("split-points-verify", "do short trainings rank cuts as the study does?", _add_arguments, run)


def ranks(points: Sequence[Row], free: Sequence[CutStudy]) -> list[Row]:
    """Return what each cut gives at equal bytes, trained and without training; None below its smallest point.

    AP is interpolated on a straight line over the logarithm of the bytes between points that no other beats.
    """
    untrained = {cut.cut: _curve([(p.bytes_mean, p.ap) for p in cut.points]) for cut in free}
    trained = {cut: _curve([(p["bytes_mean"], p["ap"]) for p in points if p["cut"] == cut]) for cut in untrained}
    rows = [
        {"bytes": size, **{f"{how} {cut}": curve.ap_at(size) for how, cut, curve in _all(trained, untrained)}}
        for size in SIZES_BYTES
    ]
    return [{k: None if math.isnan(v) else round(v, 2) for k, v in row.items()} for row in rows]


def order(row: Mapping[str, float | None], how: str) -> list[str]:
    """Return the cuts of a row of `ranks`, best first, without those that need more bytes. how: "trained" or "free"."""
    found = {k.partition(" ")[2]: ap for k, ap in row.items() if k.startswith(f"{how} ") and ap is not None}
    return sorted(found, key=lambda cut: -found[cut])


def _all(trained: Mapping[str, RateCurve], free: Mapping[str, RateCurve]) -> list[tuple[str, str, RateCurve]]:
    return [("trained", *entry) for entry in trained.items()] + [("free", *entry) for entry in free.items()]


def _curve(points: Sequence[tuple[float, float]]) -> RateCurve:
    sizes, aps = np.array(points, np.float64).T
    return front(sizes, aps)


def _trained_points(cut: str, options: Namespace, study: Mapping[str, Any]) -> list[Row]:
    folder = options.runs / cut
    settings = DistillSettings(
        teacher=options.weights,
        detector=study["model"],
        classes=options.annotations,
        images=[options.training_images],
        exclude=[options.annotations],
        run=folder,
        bundle=folder / "bundle",
        split_point=cut,
        input_size=study["input_size"],
        sides=(study["input_size"],),
        finer=1,
        steps=options.steps,
        batch_size=options.batch_size,
        square=options.square,
        table_images=options.table_images,
    )
    torch.set_num_threads(options.threads or torch.get_num_threads())
    train_split(settings)
    return _measured(cut, settings.bundle, options, study["images"])


def _measured(cut: str, bundle: Path, options: Namespace, images: int) -> list[Row]:
    """Return a row for each operating point of a cut's bundle, on the images of the study."""
    device, server = load_device(bundle), load_server(bundle)
    labelled = LabelledSet(options.images, options.annotations, device.manifest.class_names, images)
    with detection_cache_of(device.manifest.digest) as cache:
        found = evaluate(device, server, labelled, operating_points(device, with_images=False), cache)
    return [
        {"cut": cut, "quality": p.quality, "ap": p.ap, "ap50": p.ap50, "bytes_mean": p.bytes_mean, "mmacs": p.mmacs}
        for p in found.points
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
        return {key: study[key] for key in ("model", "input_size", "images", "commit", "cuts")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a study of split points: {error!r}") from error
