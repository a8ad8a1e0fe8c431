"""A classifier shared out among devices, with all of them and without some, beside its teacher and rivals."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.groups.segments import segment_bytes
from benchmarks.harness.benchmark import Benchmark, milliseconds_p50
from splitnet.errors import ConfigError
from splitnet.groups.filling import Filling
from splitnet.groups.group_bundle import load_part
from splitnet.groups.part_kinds import PooledConvSpec
from training.groups.class_images import ClassImages, read_class_images
from training.groups.classifier_export import QUALITIES, export_group
from training.groups.classifier_study import ClassifierStudy, StudySettings, group_features, teacher_accuracy
from training.groups.imputer import fit_imputer
from training.groups.lost_parts import Fill, LossAccuracy, accuracy_of, by_closed_form, by_mean, by_network, lost_parts
from training.groups.partition import RULES, Parts
from training.groups.pooled_part import cost_of
from training.groups.students import Classifiers
from training.groups.targets import look

FILL_IMAGES = 5000  # that what stands for lost parts is fitted on
CODED_IMAGES = 300  # whose bytes are counted
TIMED = 200
QUALITY = 2
METHODS = ("features", "group", "ensemble", "single")

Rows = list[dict[str, object]]
NO_COSTS: Mapping[str, object] = dict.fromkeys(
    ("parameters_per_device", "mmacs_per_device", "bytes_sent", "latency_ms")
)


def _add_arguments(parser: ArgumentParser) -> None:
    described = "a folder or tar archive with a folder of small images for each class"
    parser.add_argument("--images", type=Path, required=True, metavar="PATH", help=f"to learn from: {described}")
    parser.add_argument("--judge-images", type=Path, required=True, metavar="PATH", help="others, to judge on")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="checkpoints; what is there is kept")
    parser.add_argument("--parts", type=int, nargs="+", default=[2, 4], help="sizes of groups (%(default)s)")
    parser.add_argument(
        "--rules", nargs="+", default=["covering"], choices=[*RULES], help="partitions of trained groups (%(default)s)"
    )
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS, help="(%(default)s)")
    parser.add_argument("--teacher-epochs", type=float, default=10.0, help="(%(default)s)")
    parser.add_argument("--epochs", type=float, default=10.0, help="of each student (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=500, help="images of a step (%(default)s)")
    parser.add_argument("--views", type=int, default=2, help="of each image that the teacher sees (%(default)s)")
    parser.add_argument("--most-mmacs", type=float, default=6.5, help="of a device (%(default)s)")


@dataclass(frozen=True)
class _Bench:
    """What every method is trained and judged on."""

    study: ClassifierStudy
    judges: ClassImages
    epochs: float
    most_mmacs: float

    def row(self, method: str, devices: int, lost: int, accuracy: float, costs: Mapping[str, object]) -> Rows:
        """Return one row."""
        head = {"task": "classification", "method": method, "devices": devices, "lost": lost}
        return [{**head, "accuracy": round(accuracy, 2), **costs}]

    def specs(self, parts: Sequence[Sequence[int]]) -> list[PooledConvSpec]:
        """Return the networks of parts, each the largest within the budget."""
        return [self.study.spec(len(part), self.most_mmacs) for part in parts]


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each method, number of devices and number of lost ones."""
    torch.set_num_threads(1)
    images, judges = read_class_images(options.images), read_class_images(options.judge_images)
    if images.class_names != judges.class_names:
        raise ConfigError("--judge-images have other classes than --images: their folders must be named alike")
    settings = StudySettings(
        run=options.run,
        teacher_epochs=options.teacher_epochs,
        epochs=options.epochs,
        views=options.views,
        batch_size=options.batch_size,
    )
    bench = _Bench(ClassifierStudy(settings, images), judges, options.epochs, options.most_mmacs)
    rows = _teacher_rows(bench, options.parts)
    if "single" in options.methods:
        rows += _ensemble(bench, 1, bench.specs([range(bench.study.teacher.spec.filters // max(options.parts))]))
        rows += _one_of_all(bench, max(options.parts))
    if "features" in options.methods:
        rows += _perfect_students(bench, options.parts)
    for parts in options.parts:
        if "group" in options.methods:
            for rule in options.rules:
                rows += _group(bench, rule, parts)
        if "ensemble" in options.methods:
            channels = bench.study.teacher.spec.filters // parts
            rows += _ensemble(bench, parts, bench.specs([range(channels)] * parts))
    trained = {"views": options.views, "teacher_epochs": options.teacher_epochs, "epochs": options.epochs}
    networks = [_network(bench, parts) for parts in options.parts]
    return {"images": len(images), "judge_images": len(judges), **trained, "networks": networks, "rows": rows}


BENCHMARK = Benchmark("group", "a classifier shared out among devices, and its rivals", _add_arguments, run)


def _teacher_rows(bench: _Bench, parts: Sequence[int]) -> Rows:
    teacher, (parameters, mmacs) = bench.study.teacher, bench.study.teacher_cost
    accuracy = teacher_accuracy(teacher, bench.judges)
    image = bench.judges.pixels[:1].float()
    costs = _costs(parameters, mmacs, 0, _latency_ms(lambda: teacher(image)))
    rows = bench.row("teacher", 1, 0, accuracy, costs)
    for devices in parts:
        costs = _costs(parameters, mmacs / devices, segment_bytes(teacher, image, devices), None)
        rows += bench.row("teacher in strips", devices, 0, accuracy, costs)
    return rows


def _network(bench: _Bench, parts: int) -> dict[str, object]:
    """Return what a device of a group of so many parts takes, whatever it has learnt."""
    specs = bench.specs([range(bench.study.teacher.spec.filters // parts)])
    return {"parts": parts, **vars(specs[0]), **_costs(*_largest(specs), None, _network_ms(specs))}


def _perfect_students(bench: _Bench, counts: Sequence[int]) -> Rows:
    """Return rows of the teacher's own features in parts: what students would give that lost nothing of them.

    So partitions, and what stands for lost parts, are compared without the chance of a training. The published rule
    leaves filters out; these are lost from the start, and filled in.
    """
    study = bench.study
    rows: Rows = []
    with torch.inference_mode():
        _, known = look(study.teacher, study.images.some(FILL_IMAGES).pixels)
        _, features = look(study.teacher, bench.judges.pixels)
    known, features = known.clone(), features.clone()
    for rule in RULES:
        for count in counts:
            parts = study.partition(rule, count)
            used = sum(map(len, parts))
            for name, fill in _fills(parts, known, study.settings).items():
                for one in _lost_of(parts, features, bench.judges.labels, study.teacher.head, fill):
                    if one.lost or name == "closed form":
                        extra = {"filled_by": name, "worst": round(one.worst, 2), "filters": used}
                        rows += bench.row(f"features, {rule}", count, one.lost, one.mean, {**NO_COSTS, **extra})
    return rows


def _lost_of(parts: Parts, features: Tensor, labels: Tensor, head: nn.Module, fill: Fill) -> list[LossAccuracy]:
    """Return the accuracy for each number of parts lost, the filters of no part being lost always."""
    used = torch.zeros(features.shape[1], dtype=torch.bool)
    used[[one for part in parts for one in part]] = True

    def filled(given: Tensor, came: Tensor) -> Tensor:
        return fill(given, came & used)

    whole = features if bool(used.all()) else fill(features, used)
    return lost_parts(whole, labels, parts, head, filled)


def _group(bench: _Bench, rule: str, count: int) -> Rows:
    study = bench.study
    parts = study.partition(rule, count)
    specs = bench.specs(parts)
    group = study.group(f"{rule}-{count}", parts, specs, bench.epochs)
    known = group_features(group, study.images.some(FILL_IMAGES).pixels)
    folder = study.settings.run / "bundles" / f"{rule}-{count}"
    export_group(folder, group, study.images.class_names, known, "Apache-2.0")
    sent = _bytes_sent(folder, count, bench.judges)
    costs = _costs(*_largest(specs), sent, _network_ms(specs))
    steps = torch.cat([one.std(0).clamp(min=1e-3) / QUALITIES[QUALITY] for one in known])
    features = torch.cat(group_features(group, bench.judges.pixels), 1)
    received = torch.round(features / steps) * steps
    rows: Rows = []
    for name, fill in _fills(group.positions, torch.cat(known, 1), study.settings).items():
        for one in lost_parts(received, bench.judges.labels, group.positions, group.dense, fill):
            if one.lost or name == "closed form":
                extra = {
                    "filled_by": name,
                    "worst": round(one.worst, 2),
                    "bytes_sent": sent * (count - one.lost) / count,
                }
                rows += bench.row(f"group, {rule}", count, one.lost, one.mean, {**costs, **extra})
    return rows


def _fills(channels: Sequence[Sequence[int]], known: Tensor, settings: StudySettings) -> dict[str, Fill]:
    imputer = fit_imputer(known, channels, settings.part_dropout, settings.seed)
    fills = {"closed form": by_closed_form(Filling.measured(known)), "mean": by_mean(known.mean(0))}
    return {**fills, "network": by_network(imputer)}


def _bytes_sent(folder: Path, count: int, judges: ClassImages) -> float:
    """Return the mean bytes of an image, of all parts together."""
    total, shown = 0, judges.some(CODED_IMAGES).pixels
    for number in range(1, count + 1):
        device = load_part(folder, number, count)
        for image in shown:
            canvas = image.permute(1, 2, 0).contiguous().numpy()
            total += len(device.codec.compress(device.encoder.encode(canvas, 1, QUALITY), 1, QUALITY))
    return round(total / len(shown), 1)


@torch.inference_mode()
def _ensemble(bench: _Bench, count: int, specs: Sequence[PooledConvSpec]) -> Rows:
    """Return the rows of classifiers that each send their class scores: ten numbers of two bytes."""
    names = f"ensemble-{count}" if count > 1 else "single"
    with torch.inference_mode(False):
        classifiers = bench.study.classifiers(names, specs, bench.epochs)
    answers = _probabilities(classifiers, bench.judges)
    method = "ensemble" if count > 1 else "one device's network alone"
    rows: Rows = []
    for lost in range(count):
        left = [torch.stack(one).mean(0) for one in combinations(answers, count - lost)]
        accuracies = [accuracy_of(one, bench.judges.labels) for one in left]
        sent = 2.0 * len(bench.judges.class_names) * (count - lost)
        costs = {**_costs(*_largest(specs), sent, _network_ms(specs)), "worst": round(min(accuracies), 2)}
        rows += bench.row(method, count, lost, sum(accuracies) / len(accuracies), costs)
    return rows


def _one_of_all(bench: _Bench, devices: int) -> Rows:
    """Return the row of one network with the parameters of all devices together."""
    spec = bench.study.spec(bench.study.teacher.spec.filters, devices * bench.most_mmacs, devices)
    classifiers = bench.study.classifiers(f"total-{devices}", [spec], bench.epochs)
    with torch.inference_mode():
        accuracy = accuracy_of(_probabilities(classifiers, bench.judges)[0], bench.judges.labels)
    costs = _costs(*cost_of(spec), 2.0 * len(bench.judges.class_names), _network_ms([spec]))
    return bench.row(f"one network of {devices} devices' size", 1, 0, accuracy, costs)


def _probabilities(classifiers: Classifiers, judges: ClassImages) -> list[Tensor]:
    """Return each classifier's probabilities (images, classes)."""
    rows = [[one.softmax(1) for one in classifiers.logits(batch.float())] for batch in judges.pixels.split(500)]
    return [torch.cat(one) for one in zip(*rows, strict=True)]


def _largest(specs: Sequence[PooledConvSpec]) -> tuple[int, float]:
    return max(cost_of(spec) for spec in specs)


def _network_ms(specs: Sequence[PooledConvSpec]) -> float:
    network: nn.Module = max(specs, key=cost_of).make().eval()
    image = torch.zeros(1, 3, 32, 32)
    return _latency_ms(lambda: network(image))


@torch.inference_mode()
def _latency_ms(call: Callable[[], object]) -> float:
    return round(milliseconds_p50(call, TIMED), 3)


def _costs(parameters: int, mmacs: float, sent: float | None, latency_ms: float | None) -> dict[str, object]:
    return {
        "parameters_per_device": parameters,
        "mmacs_per_device": round(mmacs, 2),
        "bytes_sent": sent,
        "latency_ms": latency_ms,
    }
