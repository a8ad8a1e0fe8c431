"""The stages from labelled images to trained students, each kept in the folder of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.groups.part_kinds import PooledConvSpec
from splitnet.nn.macs import count_macs, parameter_count
from training.groups.class_images import ClassImages
from training.groups.classifier_export import deployed_networks, part_features
from training.groups.lost_parts import accuracy_of
from training.groups.part_size import sized
from training.groups.partition import Floats, Parts, partition
from training.groups.students import Classifiers, ClassifiersTask, Group, GroupTask, StudentsConfig
from training.groups.targets import StudentBatch, Targets, look, student_batches, targets_of
from training.groups.teacher import Teacher, TeacherSpec
from training.groups.teacher_training import WHITENING_IMAGES, TeacherBatch, TeacherTask, teacher_batches
from training.loop.run import CHECKPOINT, Run, read_checkpoint

TARGETS_FILE = "targets.pt"
MADE_FROM_FILE = "made-from"  # beside students: what they have learnt from
PARTITION_IMAGES = 2000
RATIO = 24  # the teacher's parameters over a device's, published


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """How much is trained, and from which seed."""

    run: Path
    teacher_epochs: float = 10.0
    epochs: float = 10.0
    views: int = 2
    batch_size: int = 500
    part_dropout: float = 0.25
    seed: int = 0


class ClassifierStudy:
    """A teacher, what it says of the images, and any students; what a run has already is not made again."""

    def __init__(self, settings: StudySettings, images: ClassImages) -> None:
        """Take the images to train on. ConfigError if they are fewer than a batch."""
        if len(images) < settings.batch_size:
            raise ConfigError(f"{len(images)} images are fewer than a batch of {settings.batch_size}: give more")
        self.settings, self.images = settings, images

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher; trained now if the run has none."""
        torch.manual_seed(self.settings.seed)
        classes = len(self.images.class_names)
        folder = self.settings.run / "teacher"
        spec = TeacherSpec(classes=classes)
        if (folder / CHECKPOINT).is_file():
            kept = read_checkpoint(folder / CHECKPOINT).get("spec", vars(spec))
            spec = TeacherSpec(tuple(kept["channels"]), kept["deep"], kept["classes"])
        teacher = Teacher(spec)
        teacher.set_whitening(self.images.some(WHITENING_IMAGES).pixels)
        per_epoch, steps = self._steps(self.settings.teacher_epochs)
        task = TeacherTask(teacher, self.settings.batch_size, per_epoch, steps)
        run: Run[TeacherBatch] = Run(task, folder, steps, save_every=per_epoch)
        if run.resume() and run.step == steps:
            return teacher.eval()
        run.go(teacher_batches(self.images, self.settings.batch_size, steps, run.step, self.settings.seed))
        return teacher.eval()

    @cached_property
    def teacher_cost(self) -> tuple[int, float]:
        """The teacher's parameters and MMACs."""
        image = self.images.pixels[:1].float()
        return parameter_count(self.teacher), count_macs(self.teacher, lambda: self.teacher(image)) / 1e6

    @cached_property
    def made_from(self) -> str:
        """A digest of all that targets follow from: the teacher's weights, the images, the views and the seed."""
        digest = hashlib.sha256(f"{self.settings.views} {self.settings.seed}".encode())
        for tensor in (*self.teacher.state_dict().values(), self.images.pixels, self.images.labels):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def targets(self) -> list[Targets]:
        """What the teacher says of some views of all images; found anew if the run's are of others."""
        path = self.settings.run / TARGETS_FILE
        if path.is_file():
            kept = torch.load(path, weights_only=True)
            if isinstance(kept, dict) and kept["made_from"] == self.made_from:
                return [Targets(*one) for one in kept["views"]]
        found = targets_of(self.teacher, self.images, self.settings.views, self.settings.seed)
        views = [(one.flipped, one.shifts, one.features, one.logits) for one in found]
        torch.save({"made_from": self.made_from, "views": views}, path)
        return found

    @cached_property
    def activations(self) -> Floats:
        """The mean activation of each of the teacher's filters on some images (images, filters)."""
        means, _ = look(self.teacher, self.images.some(PARTITION_IMAGES, self.settings.seed).pixels)
        return np.asarray(means.double().numpy())

    def partition(self, rule: str, parts: int) -> Parts:
        """Return which filters each part has."""
        return partition(rule, self.activations, parts, self.settings.seed)

    def spec(self, channels: int, most_mmacs: float = float("inf"), factor: int = 1) -> PooledConvSpec:
        """Return the largest network of a part at 1/24 of the teacher's parameters, times a factor."""
        return sized(channels, factor * self.teacher_cost[0] // RATIO, most_mmacs)

    def group(self, name: str, parts: Parts, specs: Sequence[PooledConvSpec], epochs: float) -> Group:
        """Return a trained group. name: its folder in the run."""
        torch.manual_seed(self.settings.seed)
        group = Group(specs, parts, len(self.images.class_names))
        group.start_from_head(self.teacher.head.weight)
        task = GroupTask(group, self._config(epochs))
        self._train(name, task, epochs)
        return group.eval()

    def classifiers(self, name: str, specs: Sequence[PooledConvSpec], epochs: float) -> Classifiers:
        """Return trained classifiers, each on its own."""
        torch.manual_seed(self.settings.seed)
        classifiers = Classifiers(specs, len(self.images.class_names))
        self._train(name, ClassifiersTask(classifiers, self._config(epochs)), epochs)
        return classifiers.eval()

    def _config(self, epochs: float) -> StudentsConfig:
        return StudentsConfig(self._steps(epochs)[1], self.settings.part_dropout, self.settings.seed)

    def _steps(self, epochs: float) -> tuple[int, int]:
        """Return the steps of an epoch, and of so many."""
        per_epoch = len(self.images) // self.settings.batch_size
        return per_epoch, max(1, round(epochs * per_epoch))

    def _train(self, name: str, task: GroupTask | ClassifiersTask, epochs: float) -> None:
        per_epoch, steps = self._steps(epochs)
        run: Run[StudentBatch] = Run(task, self.settings.run / name, steps, save_every=per_epoch)
        self._check_made_from(run.folder)
        run.resume()
        if run.step < steps:
            settings = self.settings
            run.go(student_batches(self.images, self.targets, settings.batch_size, steps, run.step, settings.seed))

    def _check_made_from(self, folder: Path) -> None:
        """Note what students learn from. ConfigError if those of a folder have learnt from something else."""
        note = folder / MADE_FROM_FILE
        if not note.exists():
            note.write_text(self.made_from, encoding="utf-8")
        elif note.read_text(encoding="utf-8") != self.made_from:
            raise ConfigError(f"{folder} has learnt from another teacher, other images or views: give another --run")


@torch.inference_mode()
def teacher_accuracy(teacher: Teacher, images: ClassImages) -> float:
    """Return a teacher's accuracy, in %."""
    return accuracy_of(teacher.logits(look(teacher, images.pixels)[1]), images.labels)


def group_features(group: Group, images: Tensor) -> list[Tensor]:
    """Return each part (N, C) of images, as devices make it."""
    return part_features(deployed_networks(group), images)
