"""What an update is worth: what its model finds in held-out images, against the full training's boxes and labels.

Fidelity is the average precision of the updated model if the boxes of the fully trained one were the truth. So it is
free of the labels' noise, and 100 says that both find the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness.bootstrap import draw
from benchmarks.updates.tasks import HeldOut, Task
from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import ConfigError
from splitnet.nn.yolox.boxes import detections_from_raw
from training.evaluation.average_precision import ObjectSet, detected_set

LEAST_SCORE = 0.01  # nearly every box counts, the score ranks them
BATCH = 8
RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class Verdict:
    """Figures of one model in percent, each as measured and then in every resample (1 + RESAMPLES,)."""

    fidelity: NDArray[np.float64]
    fidelity_50: NDArray[np.float64]  # boxes that overlap by half are enough
    ap: NDArray[np.float64]
    ap_50: NDArray[np.float64]


class Judge:
    """Held-out images of a task, and what the fully trained model finds there."""

    def __init__(self, task: Task, target: Mapping[str, Tensor], seed: int = 0) -> None:
        """Look at all images with the fully trained model. ConfigError if it finds nothing."""
        self._task = task
        found = [one.from_score(SCORE_THRESHOLD) for one in found_by(task, target)]
        self.objects = sum(len(one) for one in found)
        if not self.objects:
            raise ConfigError(f"{task.name}: the fully trained model finds nothing; train it longer, with --full-steps")
        self._labels: ObjectSet = task.held_out.labelled
        self._target = detected_set(found)
        self._counts = draw(len(found), RESAMPLES, seed)

    def verdict(self, weights: Mapping[str, Tensor]) -> Verdict:
        """Return what a model with these weights is worth; they are rounded to float16, as devices hold them."""
        found = found_by(self._task, weights)
        faithful = self._target.matches(found).average_precision(self._counts)
        labelled = self._labels.matches(found).average_precision(self._counts)
        return Verdict(faithful.mean(axis=1), faithful[:, 0], labelled.mean(axis=1), labelled[:, 0])


@torch.inference_mode()
def found_by(task: Task, weights: Mapping[str, Tensor]) -> list[Detections]:
    """Return what a model finds in the held-out images of a task, in pixels of their frames."""
    task.network.load_state_dict({name: value.half().float() for name, value in weights.items()})
    held_out: HeldOut = task.held_out
    square = held_out.images.shape[2]
    found: list[Detections] = []
    for start in range(0, len(held_out.images), BATCH):
        found += detections_from_raw(task.network(held_out.images[start : start + BATCH]), square, LEAST_SCORE)
    return _in_frames(found, held_out)


def _in_frames(found: Sequence[Detections], held_out: HeldOut) -> list[Detections]:
    return [
        Detections(place.boxes_to_frame(one.boxes), one.scores, one.labels)
        for place, one in zip(held_out.places, found, strict=True)
    ]
