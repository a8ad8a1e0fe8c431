"""Train an unsplit detector on labelled images, or fine-tune one: the `detector` command."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.settings import option
from training.command import Command
from training.data.coco import LabelledImages, read_coco
from training.data.labelled_stream import MIN_SQUARE, LabelledBatch, LabelledStream, StreamSpec
from training.detectors.detector_file import DETECTOR_FILE, DetectorNote, read_note
from training.detectors.family import MODELS, DetectorFamily, family_of
from training.detectors.keeper import Keeper
from training.detectors.record import write_record
from training.detectors.start import Start, start_network
from training.detectors.task import DetectorConfig, DetectorTraining
from training.evaluation.average_precision import LabelledSet
from training.loop.machine import DEVICES, GPUS_HELP, PRECISION_HELP, check_device, check_gpus, device_kind
from training.loop.precision import PRECISIONS
from training.loop.processes import Processes, joined, processes_of
from training.loop.run import CHECKPOINT, Run, writing_to
from training.loop.scalars import curves

PROBLEMS_FILE = "data-problems.txt"  # everything odd in the data, a line each
# Plain images from which normalisation is restored that a checkpoint lacks.
STATISTICS_BATCHES, STATISTICS_BATCH = 16, 4
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of a detector's training."""

    data: Path = option("COCO annotations of the images to train on", metavar="TRAIN.json")
    images: Path = option("folder that their file names start from", metavar="DIR")
    model: str = option("which detector", choices=MODELS)
    run: Path = option("journal, checkpoint and result; a checkpoint there goes on", metavar="DIR")
    init: Path | None = option(
        "start from .pth, .onnx, .safetensors, a bundle or another --run (default: random)",
        default=None,
        metavar="FILE",
    )
    init_classes: Path | None = option(
        "COCO annotations with the classes of --init: those of the same name are kept",
        default=None,
        metavar="FILE.json",
    )
    valid: Path | None = option("annotations to evaluate on; keeps the best", default=None, metavar="VALID.json")
    valid_images: Path | None = option("folder of its images (default: --images)", default=None, metavar="DIR")
    evaluate_every: int = option("steps between evaluations; the last step has one too", default=500)
    steps: int = option("training steps in all, those of the checkpoint included", default=1000)
    batch_size: int = option("images a step, of all processes together", default=8)
    square: int = option("side of the training square in pixels, a multiple of 32; 0: as published", default=0)
    optimiser: str = option(
        "auto: adamw with --init, sgd from random weights", default="auto", choices=("auto", "adamw", "sgd")
    )
    rate: float | None = option("peak learning rate (default: the optimiser's)", default=None, metavar="X")
    plain_share: float = option(
        "share of the steps, at the end, with whole images at the size of detection", default=0.15
    )
    mosaic_share: float = option(
        "share of the images before that which are mosaics of four; the others are zoomed", default=0.5
    )
    out: Path | None = option(
        "write what was evaluated, with commit and machine, there as well", default=None, metavar="FILE.json"
    )
    device: str = option("where to compute; auto: cuda if there", default="auto", choices=DEVICES)
    gpus: int = option(GPUS_HELP, default=1)
    precision: str = option(PRECISION_HELP, default="auto", choices=PRECISIONS)
    threads: int = option("CPU threads of the network; 0 lets torch choose", default=0)
    loaders: int = option("threads that read images", default=1)
    seed: int = option("of weights, order and draws", default=0)

    def __post_init__(self) -> None:
        """Raise ConfigError on numbers that no training has."""
        for name in ("evaluate_every", "steps", "batch_size", "loaders"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}, must be at least 1")
        if self.square % 32 or (self.square and self.square < MIN_SQUARE):
            raise ConfigError(f"--square is {self.square}, must be a multiple of 32 from {MIN_SQUARE} on")
        if self.threads < 0 or self.seed < 0:
            raise ConfigError("--threads and --seed must be at least 0")
        if not 0 <= self.mosaic_share <= 1:
            raise ConfigError(f"--mosaic-share is {self.mosaic_share}, must be from 0 to 1")
        if self.init is None and self.init_classes is not None:
            raise ConfigError("--init-classes names the classes of --init: give that too")
        if self.valid is None and self.valid_images is not None:
            raise ConfigError("--valid-images belongs to --valid: give that too")
        check_device(self.device)
        check_gpus(self.gpus, self.batch_size, self.device_kind)

    @property
    def device_kind(self) -> str:
        """Where to compute: "cpu" or "cuda"."""
        return device_kind(self.device)


@dataclass(frozen=True)
class _Parts:
    """What a training is made of."""

    settings: DetectorSettings
    family: DetectorFamily
    square: int
    data: LabelledImages
    labelled: LabelledSet | None

    @property
    def config(self) -> DetectorConfig:
        s = self.settings
        automatic = "sgd" if s.init is None else "adamw"
        optimiser = automatic if s.optimiser == "auto" else s.optimiser
        return DetectorConfig(
            s.model, s.steps, s.batch_size, optimiser, s.rate, s.plain_share, s.device_kind, s.precision
        )


def train_detector(settings: DetectorSettings) -> DetectorNote:
    """Train to the last step, from the run's checkpoint if there is one; returns the note of what the run then holds.

    The result is DETECTOR_FILE in the run's folder: the best of all evaluations, or the last if there are none. Under
    `torchrun`, all processes train together. ConfigError if something cannot be used.
    """
    parts = _parts(settings)
    with joined(settings.device_kind) as processes:
        _train(parts, processes)
    note = read_note(settings.run)
    assert note is not None
    return note


def _parts(settings: DetectorSettings) -> _Parts:
    """Check everything before anything is computed."""
    family = family_of(settings.model)
    data = read_coco(settings.data, settings.images)
    labelled = None
    if settings.valid is not None:
        labelled = LabelledSet(settings.valid_images or settings.images, settings.valid, data.class_names)
    return _Parts(settings, family, settings.square or family.input_sizes[settings.model], data, labelled)


def _train(parts: _Parts, processes: Processes) -> None:
    settings, config = parts.settings, parts.config
    if processes.is_first:
        _report(parts)
    is_new = not (settings.run / CHECKPOINT).exists()
    task = DetectorTraining(config, parts.family, _network(parts, is_new), processes)
    observe = curves(settings.run) if processes.is_first else None
    run: Run[LabelledBatch] = Run(task, settings.run, config.steps, is_writer=processes.is_first, observe=observe)
    run.resume()
    keeper = Keeper(settings.run, task, parts.labelled, _note(parts), None if is_new else _best_so_far(settings.run))
    if is_new and processes.is_first and settings.init is not None and parts.labelled is not None:
        run.look(keeper.check)  # a result worse than its start is none
    with LabelledStream(parts.data, _stream_spec(parts, processes), run.step, settings.loaders) as stream:
        run.go(stream, keeper.check, settings.evaluate_every)
    if processes.is_first and not keeper.has_seen(run.step):
        run.look(keeper.check)  # it was interrupted there, or somebody took the result away
    processes.meet()  # so that the result is there for all


def _stream_spec(parts: _Parts, processes: Processes) -> StreamSpec:
    settings = parts.settings
    share, place = processes.share(settings.batch_size), (processes.rank, processes.count)
    plain_from, mosaics = parts.config.plain_from, settings.mosaic_share
    return StreamSpec(parts.square, share, plain_from, mosaics, settings.seed, *place, fills=parts.family.fills)


def _network(parts: _Parts, is_new: bool) -> nn.Module:
    """Return what to start from; a run that goes on fills it with its own weights."""
    settings, family = parts.settings, parts.family
    if not is_new:
        return family.build(settings.model, len(parts.data.class_names))
    start = Start(settings.init, settings.init_classes)
    images = [] if settings.init is None else _plain_images(parts)
    return start_network(family, settings.model, parts.data.class_names, start, images, settings.seed)


def _plain_images(parts: _Parts) -> list[Tensor]:
    """Return some images as the network will see them."""
    spec = StreamSpec(parts.square, STATISTICS_BATCH, plain_from=0, seed=parts.settings.seed)
    with LabelledStream(parts.data, spec) as stream:
        batches = islice(stream, STATISTICS_BATCHES)
        return [parts.family.inputs(batch.images, torch.device("cpu")) for batch in batches]


def _best_so_far(folder: Path) -> float | None:
    note = read_note(folder) if (folder / DETECTOR_FILE).is_file() else None
    return None if note is None else note.ap


def _note(parts: _Parts) -> DetectorNote:
    """Return what is known of the detector before its first step."""
    settings, data = parts.settings, parts.data
    start = "random weights" if settings.init is None else settings.init.name
    origin = (
        f"{settings.model} trained from {start} by `python -m training detector` on {len(data.images)} images "
        f"with {data.objects} objects ({settings.data.name}), {{step}} steps of {settings.batch_size}."
    )
    return DetectorNote(settings.model, data.class_names, parts.square, origin, 0)


def _report(parts: _Parts) -> None:
    """Say what is trained on, and what was odd about it."""
    data, settings = parts.data, parts.settings
    for line in data.problems.summary():
        log.warning(line)
    report = data.problems.report() + ("" if parts.labelled is None else parts.labelled.problems.report())
    counts = f"{len(data.images)} images, {data.objects} objects of {len(data.class_names)} classes"
    log.info("%s; %s at %d pixels by %s", counts, settings.model, parts.square, parts.config.optimiser)
    with writing_to(settings.run):
        settings.run.mkdir(parents=True, exist_ok=True)
        (settings.run / PROBLEMS_FILE).write_text(report, errors="backslashreplace")


def _run(settings: DetectorSettings) -> str:
    note = train_detector(settings)
    if settings.out is not None and processes_of(os.environ).is_first:
        write_record(settings.out, settings.run, note)
    accuracy = "" if note.ap is None else f", AP {note.ap:.1f}"
    return f"{settings.run} has the detector of step {note.step}{accuracy}: give it to `distill` as --teacher"


COMMAND = Command("detector", "train an unsplit detector on labelled images", DetectorSettings, _run)
