"""Average precision of an unsplit detector while it is trained: whole images, in batches, where it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox, stretched_canvas
from splitnet.manifest import Accuracy
from training.data.augment import Image, grey
from training.data.images import read_image
from training.detectors.family import DetectorFamily
from training.evaluation.average_precision import LabelledSet

SCORE_THRESHOLD = 0.01  # nearly every box counts, the score ranks them
BATCH = 8


def detector_accuracy(
    family: DetectorFamily, network: nn.Module, labelled: LabelledSet, square: int, device: torch.device
) -> Accuracy:
    """Return a network's accuracy on labelled images, fitted as frames are. ConfigError if one is unreadable."""
    paths = [image.path for image in labelled.images]
    return labelled.accuracy(list(_found(family, network, paths, square, device)))


@torch.inference_mode()
def _found(
    family: DetectorFamily, network: nn.Module, paths: Sequence[Path], square: int, device: torch.device
) -> Iterator[Detections]:
    """Yield what is found in each image, in its own pixels."""
    filled = square if family.fills else None
    for start in range(0, len(paths), BATCH):
        fitted = [_fitted(path, square, family.fills) for path in paths[start : start + BATCH]]
        raw = network(family.inputs(np.stack([image for image, _ in fitted]), device))
        for (_, box), one in zip(fitted, family.detections(raw, square, SCORE_THRESHOLD), strict=True):
            yield Detections(box.boxes_to_frame(one.boxes, filled), one.scores, one.labels)


def _fitted(path: Path, square: int, fills: bool) -> tuple[Image, Letterbox]:
    frame = read_image(path)
    if frame is None:
        raise ConfigError(f"{path} is not a readable image")
    box = Letterbox.fit(frame.shape[1], frame.shape[0], square)
    canvas = box.apply(frame)
    if fills:
        return stretched_canvas(canvas, square), box
    image = grey(square, square)
    image[: canvas.shape[0], : canvas.shape[1]] = canvas
    return image, box
