"""The `convert` command: a folder of VOC or YOLO labels becomes one COCO file, or one to train and one to evaluate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitnet.errors import ConfigError
from splitnet.settings import option
from training.command import Command
from training.data.class_names import read_class_names
from training.data.hold_out import Halves, hold_out_blocks, hold_out_videos
from training.data.label_folders import ConvertedImage, write_coco
from training.data.voc import read_voc
from training.data.yolo import read_yolo

MOST_TWICE = 0.33  # of the images, held out twice
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConvertSettings:
    """What to convert."""

    format: str = option("VOC XML or YOLO text", choices=("voc", "yolo"))
    labels: Path = option("folder of the labels", metavar="DIR")
    images: Path = option("folder of the images, named alike", metavar="DIR")
    out: Path = option("the COCO file to write", metavar="TRAIN.json")
    classes: Path | None = option("YOLO only: data.yaml, or a text with a class a line", default=None, metavar="FILE")
    valid: Path | None = option("hold some out for evaluation, and write them here", default=None, metavar="VALID.json")
    test: Path | None = option(
        "hold as many out once more, to say at last how good the result is: on images that chose nothing",
        default=None,
        metavar="TEST.json",
    )
    valid_share: float = option("share of the images that is held out for --valid, and for --test", default=0.2)
    hold_out: str = option(
        "hold out blocks of ten neighbours by name, or, of frames of videos, whole videos",
        default="blocks",
        choices=("blocks", "videos"),
    )

    def __post_init__(self) -> None:
        """Raise ConfigError on a share that leaves nothing on one side, or classes where they do not belong."""
        if not 0.01 <= self.valid_share <= 0.5:
            raise ConfigError(f"--valid-share is {self.valid_share}, must be from 0.01 to 0.5")
        if self.hold_out == "videos" and self.valid is None:
            raise ConfigError("--hold-out is about what goes to --valid: give both")
        if self.test is not None and (self.valid is None or self.valid_share > MOST_TWICE):
            raise ConfigError(f"--test belongs to --valid, and takes a --valid-share of {MOST_TWICE} at most")
        if (self.format == "yolo") != (self.classes is not None):
            raise ConfigError("--classes belongs to --format yolo, which has no names of its own")


@dataclass(frozen=True)
class Conversion:
    """What was written."""

    class_names: tuple[str, ...]
    kept: Sequence[ConvertedImage]  # to train on
    held_out: Sequence[ConvertedImage]  # to evaluate on while training, and to choose by
    tested: Sequence[ConvertedImage]  # to say how good the result is


def convert(settings: ConvertSettings) -> Conversion:
    """Convert; ConfigError if there is nothing to. What was left out is logged."""
    if settings.classes is None:
        converted = read_voc(settings.labels, settings.images)
    else:
        converted = read_yolo(settings.labels, settings.images, read_class_names(settings.classes))
    for line in converted.problems.summary():
        log.warning(line)
    kept, tested = _halves(settings, converted.images, settings.test, settings.valid_share)
    share = settings.valid_share / (1 - settings.valid_share) if settings.test else settings.valid_share
    kept, held = _halves(settings, kept, settings.valid, share)
    write_coco(settings.out, converted, kept)
    for path, images in ((settings.valid, held), (settings.test, tested)):
        if path is not None:
            if not any(image.objects for image in images):
                raise ConfigError(f"no object is left for {path}: label more images, or hold none out")
            write_coco(path, converted, images)
    return Conversion(converted.class_names, kept, held, tested)


def _halves(settings: ConvertSettings, images: Sequence[ConvertedImage], held: Path | None, share: float) -> Halves:
    """Return what is kept of images and what is held out, if there is a file for it."""
    if held is None:
        return list(images), []
    if settings.hold_out == "videos":
        return hold_out_videos(images, settings.images, share)
    return hold_out_blocks(images, share)


def _run(settings: ConvertSettings) -> str:
    done, lines = convert(settings), []
    for path, images in ((settings.out, done.kept), (settings.valid, done.held_out), (settings.test, done.tested)):
        if path is not None:
            objects = sum(len(image.objects) for image in images)
            lines.append(f"wrote {path}: {len(images)} images, {objects} objects of {len(done.class_names)} classes")
    return "\n".join(lines)


COMMAND = Command("convert", "turn VOC XML or YOLO text labels into COCO files", ConvertSettings, _run)
