"""The `distill` command: a split detector from an unsplit one, and its bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch

from splitnet.errors import ConfigError
from splitnet.manifest import FILE_NAME as MANIFEST
from splitnet.manifest import CompletedBundle, Manifest, load_manifest
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import Detector
from training.command import Command, written
from training.data.coco_file import class_names_of
from training.data.crops import CropSpec, CropStream, on_grey_square
from training.data.images import find_images
from training.data.neighbours import NeighbourFrames
from training.detectors.detector_file import DETECTOR_FILE
from training.detectors.family import family_of
from training.detectors.teacher import origin_of, read_teacher
from training.distillation.completion import start_completion
from training.distillation.export import export_bundle, export_completion
from training.distillation.front_start import start_front
from training.distillation.image_run import train_on_images
from training.distillation.plan import completed_manifest, crop_spec, full_side, recipe_of, student_spec
from training.distillation.recompression import Recompression
from training.distillation.settings import DistillSettings
from training.distillation.slimmable import SlimmableEncoder, measure_statistics
from training.distillation.start import Learnt, learnt_from
from training.distillation.student import Student, StudentSpec
from training.distillation.task import Distillation, DistillConfig
from training.distillation.trained_kinds import kind_of
from training.loop.processes import joined
from training.loop.run import CHECKPOINT

STATISTICS_BATCHES = 64  # of crops, to measure what normalises a slimmable encoder's widths
ORIGIN = "Distilled in this project from the public {detector} weights of {source}; the server half is trained further."


def train_split(settings: DistillSettings) -> Manifest | None:
    """Train to the last step, from the run's checkpoint if there is one, and write the bundle; returns its manifest.

    Under `torchrun`, all processes train together, and the first one writes; the others return None. ConfigError if
    something cannot be used, before anything is trained.
    """
    images = find_images(settings.images, settings.exclude)
    names = class_names_of(settings.classes)
    teacher = read_teacher(settings.teacher, settings.detector, names)
    spec = student_spec(settings, len(names))
    learnt = _learnt(settings, spec, names)
    beginning = _beginning(settings, spec, images, learnt)
    manifest = _manifest(settings, spec, names)
    unsplit = _unsplit(settings, teacher, names)
    crops = crop_spec(settings)
    with joined(settings.device_kind) as processes:
        share = processes.share(settings.batch_size)
        neighbours = _neighbours(settings, images, crops, share)
        task = Distillation(_config(settings), spec, teacher, beginning, names, processes, neighbours)
        train_on_images(task, settings, images, crops, learnt is not None, processes)
    if not processes.is_first:
        return None
    every = -(-len(images) // settings.table_images)
    student = _with_statistics(task.result(), settings, images, crops)
    if settings.complete is not None:
        return export_completion(settings.bundle, manifest, student, unsplit, settings.complete)
    return export_bundle(settings.bundle, manifest, student, unsplit, images[::every])


def _with_statistics(student: Student, settings: DistillSettings, images: Sequence[Path], crops: CropSpec) -> Student:
    """Return a student; if its widths need statistics, they are those of crops as it was trained on."""
    if student.kind.needs_statistics:
        assert isinstance(student.encoder, SlimmableEncoder)
        cpu = torch.device("cpu")
        with CropStream(images, crops, settings.batch_size, settings.seed, settings.loaders) as stream:
            batches = (on_grey_square(batch, settings.square, cpu)[0] for batch in islice(stream, STATISTICS_BATCHES))
            measure_statistics(student.encoder, batches)
    return student


def _config(settings: DistillSettings) -> DistillConfig:
    return DistillConfig(
        settings.square,
        recipe_of(settings),
        seed=settings.seed,
        device=settings.device_kind,
        frozen_norm=settings.frozen_norm,
        train_front=settings.train_front,
        consistency=settings.consistency,
        compile=settings.compile,
        precision=settings.precision,
    )


def _neighbours(
    settings: DistillSettings, images: Sequence[Path], crops: CropSpec, batch_size: int
) -> NeighbourFrames | None:
    """Return what draws pairs of frames, one for four crops; None if nothing asks for them."""
    if not settings.consistency:
        if settings.video:
            raise ConfigError("--video is for --consistency: give a weight above 0, or leave it out")
        return None
    if settings.complete is not None:
        raise ConfigError("--complete keeps the encoder: leave --consistency out")
    return NeighbourFrames(settings.video, images, crops, max(1, batch_size // 4))


def _learnt(settings: DistillSettings, spec: StudentSpec, names: Sequence[str]) -> Learnt | None:
    """Return what a new run begins with that another one has learnt, if it does not simply go on with that one."""
    if settings.start_from is None or (settings.run / CHECKPOINT).exists():
        return None
    return learnt_from(settings.start_from, spec, names)


def _beginning(
    settings: DistillSettings, spec: StudentSpec, images: Sequence[Path], learnt: Learnt | None
) -> Callable[[Student, Detector], None] | None:
    """Return what gives a student its first weights; None if those of a checkpoint follow, or random ones will do."""
    side = full_side(settings)
    if learnt is not None:
        return lambda student, _: learnt.give(student, images, side)
    if not kind_of(spec.encoder).starts_split or settings.start_from or (settings.run / CHECKPOINT).exists():
        return None
    if (completed := settings.complete) is not None:
        return lambda student, teacher: start_completion(student, teacher, completed, images, side)
    steps = recipe_of(settings).first_steps
    return lambda student, teacher: start_front(student, teacher, images, side, steps)


def _origin(settings: DistillSettings) -> str:
    """Return where the weights come from: the teacher's, and those of the bundle that was begun with, if one was."""
    public = ORIGIN.format(detector=settings.detector, source=family_of(settings.detector).source)
    origin, start = origin_of(settings.teacher) or public, settings.start_from
    if settings.complete is not None:
        kept = load_manifest(settings.complete)
        return f"{origin} The device half is that of the bundle {kept.name}. {kept.origin}"
    if start is None or not (start / MANIFEST).is_file():
        return origin
    return f"{origin} Encoder and decoder began with those of the bundle {load_manifest(start).name}."


def _manifest(settings: DistillSettings, spec: StudentSpec, names: tuple[str, ...]) -> Manifest:
    kept = completed_manifest(settings)
    if kept is not None and kept.class_names != names:
        raise ConfigError(
            f"{settings.complete} knows other classes than {settings.classes}: its devices name by theirs"
        )
    return Manifest(
        name=settings.bundle.resolve().name,
        detector=settings.detector,
        split_point=settings.split_point,
        input_size=full_side(settings),
        class_names=names,
        qualities=kept.qualities if kept else (spec.qualities - 1) * settings.finer + 1,
        encoder=spec.encoder,
        decoder=spec.decoder,
        files={},
        origin=_origin(settings),
        licence=settings.licence,
        completes=CompletedBundle(kept.device_digest, *kept.front) if kept else None,
    )


def _unsplit(settings: DistillSettings, teacher: Detector, names: Sequence[str]) -> Detector:
    """Return the detector for the `image` mode. It shares nothing with the student."""
    if settings.unsplit is None:
        return teacher
    if (settings.unsplit / DETECTOR_FILE).is_file():
        return read_teacher(settings.unsplit, settings.detector, names)
    detector = architecture_of(settings.detector).build(settings.detector, len(names))
    try:
        detector.load_state_dict(Recompression.result(settings.unsplit))
    except RuntimeError as error:
        raise ConfigError(f"{settings.unsplit} trained another detector than {settings.detector}") from error
    return detector


def _run(settings: DistillSettings) -> str:
    manifest = train_split(settings)
    return "" if manifest is None else written(settings.bundle, manifest)


COMMAND = Command("distill", "train a split detector and write its bundle", DistillSettings, _run)
