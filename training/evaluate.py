"""The `evaluate` command: measure a bundle into a JSON file, and into its manifest, by which devices choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.atomic_write import write_json
from splitnet.bundle import load_device, load_server
from splitnet.dominated import dominated
from splitnet.environment import environment
from splitnet.errors import ConfigError
from splitnet.manifest import load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.settings import count, option
from splitnet.text_table import text_table
from training.command import Command
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import detection_cache_of
from training.evaluation.equal_accuracy import conclusion
from training.evaluation.measure import Evaluation, evaluate, operating_points

COLUMNS = ("point", "KB", "KB p90", "AP", "AP50", "encode ms", "MMACs", "dominated by")


@dataclass(frozen=True)
class EvaluateSettings:
    """Which bundle to measure on which images, and where the figures go."""

    bundle: Path = option("the bundle to measure", metavar="DIR")
    images: Path = option("labelled images, never trained on", metavar="DIR")
    annotations: Path = option("their COCO annotations", metavar="FILE")
    out: Path = option("where the figures go", metavar="FILE.json")
    limit: int | None = option("only the first N images: a quick look", default=None, type=count)
    widths: Sequence[int] = option("only these widths (default: all)", default=(), metavar="W", nargs="*")
    qualities: Sequence[int] = option("only these qualities (default: all)", default=(), metavar="Q", nargs="*")
    no_images: bool = option("leave the image codecs out", default=False)
    write_manifest: bool = option("store the figures in the bundle's manifest; not with --limit", default=False)
    prune: bool = option(
        "with --write-manifest: leave dominated points out, which another beats in MMACs, bytes and AP", default=False
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
    points = operating_points(device, settings.widths, settings.qualities, not settings.no_images)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    with detection_cache_of(device.manifest.digest) as cache:
        result = evaluate(device, server, labelled, points, cache)
        chosen = result if choice is None else evaluate(device, server, choice, points, cache)
    gone = _gone(result.points, chosen.points) if settings.prune else {}
    rows = [{"point": str(one.point), "dominated_by": str(by.point)} for one, by in gone.items()]
    notes: dict[str, Any] = {"pruned": rows} if settings.prune else {}
    if choice is not None:
        notes["chosen_on"] = len(choice.images)
    if labelled.problems.counts:
        notes["left_out"] = labelled.problems.counts
    record = {**result.to_json(), **notes, "images": len(labelled.images), **environment()}
    write_json(settings.out, record)
    if settings.write_manifest:
        kept = tuple(point for point in result.points if point not in gone)
        device.manifest.with_measurements(result.unsplit, kept, result.local).write(settings.bundle)
    return result


def _gone(points: Sequence[MeasuredPoint], chosen: Sequence[MeasuredPoint]) -> dict[MeasuredPoint, MeasuredPoint]:
    """Return the dominated points, and what dominates them, as other images have it: the same, measured on those."""
    ours = {one.point: one for one in points}
    return {ours[one.point]: ours[by.point] for one, by in dominated(chosen).items()}


def as_table(result: Evaluation) -> str:
    """Return what was measured as a table, with the point that dominates each, if one does."""
    alone = {"unsplit, uncompressed": result.unsplit, "the device alone": result.local}
    lines = [f"{name}: AP {one.ap:.1f}, AP50 {one.ap50:.1f}" for name, one in alone.items() if one is not None]
    by = dominated(result.points)
    rows = [(*_figures(one), str(by[one].point) if one in by else "") for one in result.points]
    lines.append(text_table(COLUMNS, rows, left=("point", "dominated by")))
    in_short = conclusion(result.points)
    return "\n".join(lines if in_short is None else [*lines, in_short])


def _figures(one: MeasuredPoint) -> tuple[str, ...]:
    sizes = (f"{one.bytes_mean / 1e3:.2f}", f"{one.bytes_p90 / 1e3:.2f}")
    costs = (f"{one.encode_ms_p50:.2f}", f"{one.mmacs:.1f}")
    return (str(one.point), *sizes, f"{one.ap:.1f}", f"{one.ap50:.1f}", *costs)


def _run(settings: EvaluateSettings) -> str:
    result = evaluate_bundle(settings)
    table = as_table(result)
    if not settings.prune:
        return table
    left_out = len(result.points) - len(load_manifest(settings.bundle).points)
    return f"{table}\nleft out of the manifest: {left_out} of {len(result.points)} points, the dominated ones"


COMMAND = Command("evaluate", "measure AP, bytes and encode time of a bundle", EvaluateSettings, _run)
