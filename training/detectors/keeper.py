"""The best network of a training so far, kept in the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from training.detectors.detector_file import DETECTOR_FILE, DetectorNote, write_detector
from training.detectors.evaluation import detector_accuracy
from training.detectors.record import evaluations
from training.detectors.task import DetectorTraining
from training.evaluation.average_precision import LabelledSet
from training.loop.run import JOURNAL, writing_to

log = logging.getLogger(__name__)


class Keeper:
    """Evaluates the averaged network of a training, and keeps the best one."""

    def __init__(
        self, run: Path, task: DetectorTraining, labelled: LabelledSet | None, note: DetectorNote, best: float | None
    ) -> None:
        """Take the run's folder; without labelled images the last network is the best.

        note: of the detector; "{step}" in its origin becomes the step. best: accuracy of what the folder has already.
        """
        self._run, self._task, self._labelled, self._note, self._best = run, task, labelled, note, best

    def has_seen(self, step: int) -> bool:
        """Return whether there is a result, and it is the best up to this step."""
        if not (self._run / DETECTOR_FILE).is_file() or not (self._run / JOURNAL).is_file():
            return False
        return self._labelled is None or step in {int(one["step"]) for one in evaluations(self._run)}

    def check(self, step: int) -> Mapping[str, float]:
        """Return the accuracy as figures, none without labelled images."""
        if self._labelled is None:
            self._write(step, None)
            return {}
        network, device = self._task.averaged(), self._task.device
        accuracy = detector_accuracy(self._task.family, network, self._labelled, self._note.input_size, device)
        log.info("step %d: AP %.1f, AP50 %.1f", step, accuracy.ap, accuracy.ap50)
        if self._best is None or accuracy.ap > self._best:
            self._best = accuracy.ap
            self._write(step, accuracy.ap)
        return {"ap": accuracy.ap, "ap50": accuracy.ap50}

    def _write(self, step: int, ap: float | None) -> None:
        note = replace(self._note, step=step, ap=ap, origin=self._note.origin.replace("{step}", str(step)))
        with writing_to(self._run):
            write_detector(self._run, self._task.result().state_dict(), note)
