"""The `recompress` command: an unsplit detector that minds compression less."""

from __future__ import annotations

from dataclasses import dataclass

from splitnet.settings import count, option
from training.command import Command
from training.data.coco_file import class_names_of
from training.data.crops import CropSpec
from training.data.images import find_images
from training.detectors.teacher import read_teacher
from training.distillation.image_run import input_size, train_on_images
from training.distillation.image_settings import ImageSettings
from training.distillation.recompression import RecompressConfig, Recompression
from training.loop.processes import joined


@dataclass(frozen=True, kw_only=True)
class RecompressSettings(ImageSettings):
    """Settings of a training against compression."""

    steps: int = option("training steps in all, those of the checkpoint included", default=1500, type=count)


def train_recompressed(settings: RecompressSettings) -> None:
    """Train to the last step; the run's folder has the result. Under `torchrun`, all processes train together.

    ConfigError if something cannot be used.
    """
    images = find_images(settings.images, settings.exclude)
    teacher = read_teacher(settings.teacher, settings.detector, class_names_of(settings.classes))
    config = RecompressConfig(
        settings.square, seed=settings.seed, device=settings.device_kind, precision=settings.precision
    )
    crops = CropSpec(settings.square, input_size(settings))
    with joined(settings.device_kind) as processes:
        task = Recompression(config, teacher, processes)
        train_on_images(task, settings, images, crops, processes=processes)


def _run(settings: RecompressSettings) -> str:
    train_recompressed(settings)
    return f"done: give --unsplit {settings.run} to `python -m training distill`"


COMMAND = Command("recompress", "make an unsplit detector mind compression less", RecompressSettings, _run)
