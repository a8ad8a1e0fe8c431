"""The `group` command: a classifier's knowledge shared out among several devices."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitnet.atomic_write import write_json
from splitnet.environment import environment
from splitnet.errors import ConfigError
from splitnet.groups.filling import Filling
from splitnet.messages import MAX_PARTS
from splitnet.settings import count, option, share
from splitnet.text_table import text_table
from training.command import Command
from training.cuts.plot import can_draw
from training.groups.class_images import ClassImages, read_class_images
from training.groups.classifier_export import export_group
from training.groups.classifier_study import ClassifierStudy, StudySettings, group_features, teacher_accuracy
from training.groups.imputer import fit_imputer
from training.groups.lost_parts import Fill, LossAccuracy, by_closed_form, by_mean, by_network, lost_parts
from training.groups.part_size import sized
from training.groups.partition import RULES, published_weights
from training.groups.partition_plot import draw_partition
from training.groups.pooled_part import cost_of
from training.groups.replication import replication_plan
from training.groups.students import Group

RECORD = "group.json"
FILL_IMAGES = 5000  # that what stands for lost parts is fitted on


@dataclass(frozen=True)
class GroupSettings:
    """What is learnt from, among how many devices it is shared out, and what each of them has."""

    images: Path = option(
        "images to learn from: a folder, or a tar archive, with a folder of small images for each class", metavar="PATH"
    )
    judge_images: Path = option("other such images, to measure the accuracy on", metavar="PATH")
    run: Path = option("folder of the run: checkpoints; the same command goes on from there", metavar="DIR")
    out: Path = option("folder for the bundle", metavar="DIR")
    parts: int = option("parts that the features are shared out into", default=4, type=count)
    devices: int = option(
        "devices that there are; what is over the parts makes one twice (default: one a part)", default=0
    )
    rule: str = option("how filters are shared out", default="covering", choices=[*RULES])
    most_parameters: int = option("parameters of a device (default: a 24th of the teacher's)", default=0)
    most_mmacs: float = option("million multiply-accumulates of a device (default: any)", default=0.0)
    teacher_epochs: float = option("epochs of the teacher", default=10.0)
    epochs: float = option("epochs of the students", default=10.0)
    views: int = option("fixed views of each image that the teacher is asked about", default=2, type=count)
    batch_size: int = option("images of a step", default=500, type=count)
    part_dropout: float = option("how often a part is taken away in training", default=0.25, type=share)
    limit: int = option("images to learn from, at most (default: all)", default=0)
    seed: int = option("of all that is drawn", default=0)
    licence: str = option("of the weights", default="Apache-2.0", metavar="TEXT")
    json: bool = option("print the figures as JSON", default=False)
    threads: int = option("CPU threads", default=1, type=count)

    def __post_init__(self) -> None:
        """Raise ConfigError on what contradicts itself."""
        if self.parts > MAX_PARTS:
            raise ConfigError(f"a group has at most {MAX_PARTS} parts, not {self.parts}")
        if self.devices and self.devices < self.parts:
            raise ConfigError(f"--devices {self.devices} cannot make --parts {self.parts}: every part needs a device")
        if self.epochs <= 0 or self.teacher_epochs <= 0:
            raise ConfigError("--epochs and --teacher-epochs must be above zero")
        if min(self.most_parameters, self.most_mmacs, self.limit) < 0:
            raise ConfigError("--most-parameters, --most-mmacs and --limit must not be negative")


def make_group(settings: GroupSettings) -> dict[str, Any]:
    """Train and write a group's bundle; returns its figures. ConfigError on images or sizes that cannot be."""
    images, judges = _images(settings)
    study = ClassifierStudy(_study_settings(settings), images)
    parts = study.partition(settings.rule, settings.parts)
    most = settings.most_parameters or study.teacher_cost[0] // 24
    specs = [sized(len(part), most, settings.most_mmacs or float("inf")) for part in parts]
    group = study.group(f"{settings.rule}-{settings.parts}", parts, specs, settings.epochs)
    known = group_features(group, images.some(FILL_IMAGES, settings.seed).pixels)
    manifest = export_group(settings.out, group, images.class_names, known, settings.licence)
    losses = measured(settings, group, torch.cat(known, 1), judges)
    whole = losses["closed form"]
    costs = [whole[0].mean - whole[1].of_sets[(part,)] if len(whole) > 1 else 0.0 for part in range(1, len(parts) + 1)]
    replace(manifest, measured={f"{one.lost} lost": round(one.mean, 2) for one in whole}).write(settings.out)
    if can_draw():
        title = f"{settings.rule}: {sum(map(len, parts))} of {study.teacher.spec.filters} filters"
        draw_partition(settings.run / "partition", published_weights(study.activations), parts, title, settings.seed)
    record = {
        "teacher": {
            "accuracy": teacher_accuracy(study.teacher, judges),
            "parameters": study.teacher_cost[0],
            "mmacs": study.teacher_cost[1],
        },
        "rule": settings.rule,
        "parts": [list(part) for part in parts],
        "devices": [dict(zip(("parameters", "mmacs"), cost_of(spec), strict=True)) for spec in specs],
        "accuracy": {name: [_plain(one) for one in found] for name, found in losses.items()},
        "plan": list(replication_plan(settings.devices or len(parts), costs)),
        "digest": manifest.digest,
        **environment(),
    }
    write_json(settings.run / RECORD, record)
    return record


def measured(
    settings: GroupSettings | StudySettings, group: Group, known: Tensor, judges: ClassImages
) -> dict[str, list[LossAccuracy]]:
    """Return a group's accuracy with parts lost, by what fills them in. known: features (N, C) without labels."""
    features = torch.cat(group_features(group, judges.pixels), 1)
    channels = group.positions
    imputer = fit_imputer(known, channels, settings.part_dropout, settings.seed)
    fills: dict[str, Fill] = {
        "mean": by_mean(known.mean(0)),
        "closed form": by_closed_form(Filling.measured(known)),
        "network": by_network(imputer),
    }
    return {name: lost_parts(features, judges.labels, channels, group.dense, one) for name, one in fills.items()}


def _images(settings: GroupSettings) -> tuple[ClassImages, ClassImages]:
    images, judges = read_class_images(settings.images), read_class_images(settings.judge_images)
    if images.class_names != judges.class_names:
        raise ConfigError("--judge-images have other classes than --images: their folders must be named alike")
    return images.some(settings.limit, settings.seed) if settings.limit else images, judges


def _study_settings(settings: GroupSettings) -> StudySettings:
    return StudySettings(
        run=settings.run,
        teacher_epochs=settings.teacher_epochs,
        epochs=settings.epochs,
        views=settings.views,
        batch_size=settings.batch_size,
        part_dropout=settings.part_dropout,
        seed=settings.seed,
    )


def _plain(one: LossAccuracy) -> dict[str, Any]:
    values = asdict(one)
    return {**values, "of_sets": {" ".join(map(str, lost)): value for lost, value in one.of_sets.items()}}


def as_text(settings: GroupSettings, record: dict[str, Any]) -> str:
    """Return what came of it for people."""
    teacher, devices = record["teacher"], record["devices"]
    rows = [
        (str(lost), *(f"{record['accuracy'][fill][lost]['mean']:.2f}" for fill in record["accuracy"]))
        for lost in range(len(devices))
    ]
    table = text_table(("parts lost", *(f"filled by {fill}" for fill in record["accuracy"])), rows)
    largest = max(devices, key=lambda one: one["parameters"])
    return "\n\n".join(
        [
            f"teacher: {teacher['accuracy']:.2f} %, {teacher['parameters']} parameters, {teacher['mmacs']:.1f} MMACs",
            f"a device: at most {largest['parameters']} parameters, {largest['mmacs']:.2f} MMACs",
            table,
            "devices make the parts " + " ".join(map(str, record["plan"])),
            f"wrote {settings.out} ({record['digest'][:12]})",
            f"serve it with `cloud-server serve --bundle {settings.out}`",
        ]
    )


def _run(settings: GroupSettings) -> str:
    record = make_group(settings)
    return json.dumps(record, indent=1) if settings.json else as_text(settings, record)


COMMAND = Command("group", "share a classifier's knowledge out among several devices", GroupSettings, _run)
