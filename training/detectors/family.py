"""Families of detectors as the training knows them: network, preprocessing, losses and decoding.

`training.detector` knows no more of a family than this. Another family is another class here and a line in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.nn.detector import Detector
from training.data.augment import Image
from training.detectors.efficientdet.family import EfficientDetFamily
from training.detectors.nanodet.family import NanoDetFamily
from training.detectors.reading import Reading
from training.detectors.yolox.family import YOLOXFamily


class DetectorFamily(Protocol):
    """A family; the square is the side in pixels of what the network sees."""

    input_sizes: Mapping[str, int]  # pixels a side as published, by the names of its members
    source: str  # of its public weights, with their licence
    reading: Reading  # of its raw predictions, for distillation
    fills: bool  # wants images stretched to the square; others are letterboxed, grey beside them

    def build(self, name: str, classes: int) -> nn.Module:
        """Return a network with random weights, ready to be trained."""

    def load(self, path: Path, name: str) -> Detector:
        """Return a network with a checkpoint's weights and number of classes, its normalisation folded or not.

        ConfigError if it cannot be read or is another detector, which is named.
        """

    def read(self, path: Path, name: str, images: Sequence[Tensor]) -> nn.Module:
        """Return a network, ready to be trained, with a checkpoint's weights and number of classes.

        images: batches that `inputs` has made, for statistics that the checkpoint lacks. ConfigError as for `load`,
        or if it cannot be trained.
        """

    def with_classes(self, network: nn.Module, name: str, kept: Sequence[int | None]) -> nn.Module:
        """Return a network with other classes; kept: which of the old ones each new one starts from, if any."""

    def classes(self, network: nn.Module) -> int:
        """Return how many classes a network knows."""

    def inputs(self, images: Image, device: torch.device) -> Tensor:
        """Return what the network takes of images (N, S, S, 3) BGR uint8."""

    def losses(
        self, raw: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], square: int, is_late: bool
    ) -> dict[str, Tensor]:
        """Return the losses to be summed, by name, and "positives", which is only written down.

        raw: what the network gave. is_late: in the last part of a training, on plain images.
        """

    def detections(self, raw: Tensor, square: int, score_threshold: float) -> list[Detections]:
        """Return what is found in each image, in pixels of the square."""

    def deployed(self, network: nn.Module) -> nn.Module:
        """Return a copy as it will run, on the CPU, in evaluation mode."""


FAMILIES: tuple[DetectorFamily, ...] = (YOLOXFamily(), EfficientDetFamily(), NanoDetFamily())
MODELS: tuple[str, ...] = tuple(name for family in FAMILIES for name in family.input_sizes)


def family_of(name: str) -> DetectorFamily:
    """Return the family of a detector; ConfigError if there is none."""
    for family in FAMILIES:
        if name in family.input_sizes:
            return family
    raise ConfigError(f"unknown detector {name!r}; choose one of {', '.join(MODELS)}")
