"""The run of any training on images: crops in, steps, a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from training.data.crops import CropSpec, CropStream
from training.detectors.teacher import input_size_of
from training.distillation.image_settings import ImageSettings
from training.loop.processes import ALONE, Processes
from training.loop.run import Run, Task


def input_size(settings: ImageSettings) -> int:
    """Return the side of the detector's square in pixels: as asked, or as its teacher's."""
    return settings.input_size or input_size_of(settings.teacher, settings.detector)


def train_on_images(
    task: Task[NDArray[Any]],
    settings: ImageSettings,
    images: Sequence[Path],
    crops: CropSpec,
    is_begun: bool = False,
    processes: Processes = ALONE,
) -> None:
    """Train to the last step, from the run's checkpoint if there is one. ConfigError if something cannot be used.

    is_begun: the task has what it takes of `start_from` already.
    """
    run = Run(task, settings.run, settings.steps, is_writer=processes.is_first)
    if not run.resume() and settings.start_from is not None:
        if is_begun:
            run.skip(settings.start_progress)
        else:
            run.start_from(settings.start_from, settings.start_progress)
    share, seed = processes.share(settings.batch_size), (settings.seed, processes.rank)
    with CropStream(images, crops, share, seed, settings.loaders, run.step) as stream:
        run.go(stream)
