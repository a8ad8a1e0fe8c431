"""The `distill` command: a split detector from an unsplit one, and its bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.manifest import Manifest
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import Detector
from splitnet.nn.encoder import EncoderSpec
from splitnet.nn.front import FrontSpec
from training.average_precision import class_names_of
from training.detector_family import family_of
from training.detector_file import DETECTOR_FILE
from training.distill import Distillation, DistillConfig
from training.distill_settings import DistillSettings
from training.export import export_bundle
from training.front_start import start_front
from training.photograph_run import input_size, train_on_photographs
from training.photographs import CropSpec, find_photographs
from training.recipe import RECIPES
from training.recompress import Recompression
from training.run import CHECKPOINT
from training.student import Student, StudentSpec
from training.student_start import Learnt, learnt_from
from training.teacher import origin_of, read_teacher

SHARES = (1 / 2, 5 / 8, 3 / 4, 1)  # of the detector's square: the sides of a front's widths
ORIGIN = (
    "Distilled in this project from the public {detector} weights of {source}, "
    "every weight of the server half and of the unsplit detector trained further here."
)


def train_split(settings: DistillSettings) -> Manifest:
    """Train to the last step, from the run's checkpoint if there is one, and write the bundle; returns its manifest.

    ConfigError if something cannot be used, before anything is trained.
    """
    photographs = find_photographs(settings.photographs, settings.exclude)
    names = class_names_of(settings.classes)
    teacher = read_teacher(settings.teacher, settings.detector, names)
    spec = student_spec(settings, len(names))
    learnt = _learnt(settings, spec, names)
    beginning = _beginning(settings, spec, photographs, learnt)
    task = Distillation(_config(settings), spec, teacher, beginning, names)
    manifest = _manifest(settings, spec, names)
    unsplit = _unsplit(settings, teacher, names)
    low, high = RECIPES[settings.encoder].scales
    crops = CropSpec(settings.square, input_size(settings), low, high)
    train_on_photographs(task, settings, photographs, crops, is_begun=learnt is not None)
    every = -(-len(photographs) // settings.table_photographs)
    return export_bundle(settings.bundle, manifest, task.result(), unsplit, photographs[::every])


def student_spec(settings: DistillSettings, classes: int) -> StudentSpec:
    """Return what the settings want trained. ConfigError if its sizes cannot be."""
    recipe = RECIPES[settings.encoder]
    encoder = EncoderSpec() if settings.encoder == "ensemble" else FrontSpec(_sides(settings))
    return StudentSpec(
        settings.detector, classes, settings.split_point, recipe.qualities, encoder=encoder, decoder=recipe.decoder
    )


def _sides(settings: DistillSettings) -> tuple[int, ...]:
    """Return the sides of a front's widths, as asked or as usual: shares of the detector's square."""
    size = input_size(settings)
    if settings.sides and settings.sides[-1] != size:
        raise ConfigError(f"--sides must end with the detector's own, {size}")
    usual = (round(size * share / LATENT_STRIDE) * LATENT_STRIDE for share in SHARES)
    return tuple(settings.sides) or tuple(dict.fromkeys(usual))  # of a small square some shares are the same


def _config(settings: DistillSettings) -> DistillConfig:
    return DistillConfig(
        settings.square,
        RECIPES[settings.encoder],
        seed=settings.seed,
        device=settings.device_kind,
        frozen_norm=settings.frozen_norm,
        train_front=settings.train_front,
        compile=settings.compile,
    )


def _learnt(settings: DistillSettings, spec: StudentSpec, names: Sequence[str]) -> Learnt | None:
    """Return what a new run begins with that another one has learnt, if it does not simply go on with that one."""
    if settings.start_from is None or (settings.run / CHECKPOINT).exists():
        return None
    return learnt_from(settings.start_from, spec, names)


def _beginning(
    settings: DistillSettings, spec: StudentSpec, photographs: Sequence[Path], learnt: Learnt | None
) -> Callable[[Student, Detector], None] | None:
    """Return what gives a student its first weights; None if those of a checkpoint follow, or random ones will do."""
    if learnt is not None:
        return lambda student, _: learnt.give(student, photographs, input_size(settings))
    if not isinstance(spec.encoder, FrontSpec) or settings.start_from or (settings.run / CHECKPOINT).exists():
        return None
    return lambda student, teacher: start_front(student, teacher, photographs, input_size(settings))


def _manifest(settings: DistillSettings, spec: StudentSpec, names: tuple[str, ...]) -> Manifest:
    public = ORIGIN.format(detector=settings.detector, source=family_of(settings.detector).source)
    return Manifest(
        name=settings.bundle.resolve().name,
        detector=settings.detector,
        split_point=settings.split_point,
        input_size=input_size(settings),
        class_names=names,
        qualities=(spec.qualities - 1) * settings.finer + 1,
        encoder=spec.encoder,
        decoder=spec.decoder,
        files={},
        origin=origin_of(settings.teacher) or public,
        licence=settings.licence,
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
