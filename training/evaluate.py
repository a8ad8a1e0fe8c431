"""The `evaluate` command: measure a bundle into a JSON file, and into its manifest, by which devices choose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.bundle import load_device, load_server
from splitnet.environment import environment
from splitnet.errors import ConfigError
from splitnet.manifest import MeasuredPoint, load_manifest
from splitnet.settings import count, option
from training.command import Command
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import detection_cache_of
from training.evaluation.dominated import dominated, name_of, rows_of
from training.evaluation.equal_accuracy import conclusion
from training.evaluation.measure import Evaluation, evaluate, operating_points


@dataclass(frozen=True)
class EvaluateSettings:
    """Which bundle to measure on which images, and where the figures go."""

    bundle: Path = option("the bundle to measure", metavar="DIR")
    images: Path = option("labelled images, never trained on", metavar="DIR")
    annotations: Path = option("their COCO annotations", metavar="FILE")
    out: Path = option("where the figures go", metavar="FILE.json")
    limit: int | None = option("only the first N images: a quick look", default=None, type=count)
    widths: Sequence[int] = option("only these widths (default: all)", default=(), metavar="W", nargs="*")
    no_images: bool = option("leave the image codecs out", default=False)
    write_manifest: bool = option("store the figures in the bundle's manifest; not with --limit", default=False)
    prune: bool = option(
        "with --write-manifest: leave points out that another one beats in MMACs, bytes and AP at once", default=False
    )
    choose_on: Path | None = option(
        "with --prune: COCO annotations of other images, by which points are left out; what is stored is then measured "
        "on images that chose nothing",
        default=None,
        metavar="FILE",
    )
    choose_images: Path | None = option("folder of its images (default: --images)", default=None, metavar="DIR")
    threads: int = option("CPU threads; encode times are quoted for one", default=1, type=count)

    def __post_init__(self) -> None:
        """Raise ConfigError on what contradicts itself."""
        if self.write_manifest and self.limit is not None:
            raise ConfigError("--write-manifest stores figures of the whole set only: leave --limit out")
        if self.prune and not self.write_manifest:
            raise ConfigError("--prune is about what --write-manifest stores: give both")
        if self.choose_on is not None and not self.prune:
            raise ConfigError("--choose-on is about what --prune leaves out: give both")
        if self.choose_images is not None and self.choose_on is None:
            raise ConfigError("--choose-images belongs to --choose-on: give that too")


def evaluate_bundle(settings: EvaluateSettings) -> Evaluation:
    """Measure a bundle and write the figures; returns them. ConfigError on whatever is wrong with the settings."""
    device, server = load_device(settings.bundle), load_server(settings.bundle)
    labelled = LabelledSet(settings.images, settings.annotations, device.manifest.class_names, settings.limit)
    choice = None
    if settings.choose_on is not None:
        folder = settings.choose_images or settings.images
        choice = LabelledSet(folder, settings.choose_on, device.manifest.class_names)
    points = operating_points(device, settings.widths, not settings.no_images)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    with detection_cache_of(device.manifest.digest) as cache:
        result = evaluate(device, server, labelled, points, cache)
        chosen = result if choice is None else evaluate(device, server, choice, points, cache)
    beaten = _beaten(result.points, chosen.points) if settings.prune else {}
    notes: dict[str, Any] = {"pruned": rows_of(beaten)} if settings.prune else {}
    if choice is not None:
        notes["chosen_on"] = len(choice.images)
    if labelled.problems.counts:
        notes["left_out"] = labelled.problems.counts
    record = {**result.to_json(), **notes, "images": len(labelled.images), **environment()}
    settings.out.write_text(json.dumps(record, indent=1) + "\n")
    if settings.write_manifest:
        kept = tuple(point for point in result.points if point not in beaten)
        device.manifest.with_measurements(result.unsplit, kept, result.local).write(settings.bundle)
    return result


def _beaten(points: Sequence[MeasuredPoint], chosen: Sequence[MeasuredPoint]) -> dict[MeasuredPoint, MeasuredPoint]:
    """Return which points others beat, and which do, as other images have it: the same points, measured on those."""
    ours = {name_of(point): point for point in points}
    return {ours[name_of(point)]: ours[name_of(by)] for point, by in dominated(chosen).items()}


def as_table(result: Evaluation) -> str:
    """Return what was measured as lines, with the point that beats each, if one does."""
    lines = []
    if result.unsplit is not None:
        lines.append(f"unsplit, uncompressed: AP {result.unsplit.ap:.1f}, AP50 {result.unsplit.ap50:.1f}")
    if result.local is not None:
        lines.append(f"the device alone: AP {result.local.ap:.1f}, AP50 {result.local.ap50:.1f}")
    lines.append(f"{'point':>12} {'KB':>7} {'p90':>7} {'AP':>6} {'AP50':>6} {'encode ms':>10} {'MMACs':>7}  beaten by")
    beaten = dominated(result.points)
    for p in result.points:
        sizes = f"{p.bytes_mean / 1e3:7.2f} {p.bytes_p90 / 1e3:7.2f}"
        figures = f"{name_of(p):>12} {sizes} {p.ap:6.1f} {p.ap50:6.1f} {p.encode_ms_p50:10.2f} {p.mmacs:7.1f}"
        lines.append(f"{figures}  {name_of(beaten[p])}" if p in beaten else figures)
    in_short = conclusion(result.points)
    return "\n".join(lines if in_short is None else [*lines, in_short])


def _run(settings: EvaluateSettings) -> str:
    result = evaluate_bundle(settings)
    table = as_table(result)
    if not settings.prune:
        return table
    left_out = len(result.points) - len(load_manifest(settings.bundle).points)
    return f"{table}\nleft out of the manifest: {left_out} of {len(result.points)} points, those beaten by others"


COMMAND = Command("evaluate", "measure AP, bytes and encode time of a bundle", EvaluateSettings, _run)
