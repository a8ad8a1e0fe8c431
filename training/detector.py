"""Train an unsplit detector on labelled images, or fine-tune one: the `detector` command."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from training.data.coco import LabelledImages, read_coco
from training.data.labelled_stream import LabelledBatch, LabelledStream, StreamSpec
from training.detectors.detector_file import DETECTOR_FILE, DetectorNote, read_note, write_detector
from training.detectors.evaluation import detector_accuracy
from training.detectors.family import DetectorFamily, family_of
from training.detectors.record import evaluations
from training.detectors.settings import DetectorSettings
from training.detectors.start import Start, start_network
from training.detectors.task import DetectorConfig, DetectorTraining
from training.evaluation.average_precision import LabelledSet
from training.loop.processes import Processes, joined
from training.loop.run import CHECKPOINT, JOURNAL, Run, writing_to
from training.loop.scalars import curves

PROBLEMS_FILE = "data-problems.txt"  # everything odd in the data, a line each
# Plain images from which normalisation is restored that a checkpoint lacks.
STATISTICS_BATCHES, STATISTICS_BATCH = 16, 4
log = logging.getLogger(__name__)


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
    keeper = _Keeper(parts, task, None if is_new else _best_so_far(settings.run))
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
    return StreamSpec(parts.square, share, parts.config.plain_from, settings.mosaic_share, settings.seed, *place)


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


class _Keeper:
    """Evaluates, and keeps the best network in the run's folder."""

    def __init__(self, parts: _Parts, task: DetectorTraining, best: float | None) -> None:
        self._parts, self._task, self._best = parts, task, best

    def has_seen(self, step: int) -> bool:
        """Return whether there is a result, and it is the best up to this step."""
        run = self._parts.settings.run
        if not (run / DETECTOR_FILE).is_file() or not (run / JOURNAL).is_file():
            return False
        return self._parts.labelled is None or step in {int(one["step"]) for one in evaluations(run)}

    def check(self, step: int) -> Mapping[str, float]:
        """Return the accuracy as figures; without evaluation images, the last network is the best."""
        parts = self._parts
        if parts.labelled is None:
            self._write(step, None)
            return {}
        network, device = self._task.averaged(), self._task.device
        accuracy = detector_accuracy(parts.family, network, parts.labelled, parts.square, device)
        log.info("step %d: AP %.1f, AP50 %.1f", step, accuracy.ap, accuracy.ap50)
        if self._best is None or accuracy.ap > self._best:
            self._best = accuracy.ap
            self._write(step, accuracy.ap)
        return {"ap": accuracy.ap, "ap50": accuracy.ap50}

    def _write(self, step: int, ap: float | None) -> None:
        settings, data = self._parts.settings, self._parts.data
        start = "random weights" if settings.init is None else settings.init.name
        origin = (
            f"{settings.model} trained from {start} by `python -m training detector` on {len(data.images)} images "
            f"with {data.objects} objects ({settings.data.name}), {step} steps of {settings.batch_size}."
        )
        note = DetectorNote(settings.model, data.class_names, self._parts.square, origin, step, ap)
        with writing_to(settings.run):
            write_detector(settings.run, self._task.result().state_dict(), note)


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
