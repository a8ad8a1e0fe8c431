"""A teacher and a student small enough to train in a test, and images to train them on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.encoder.slimmable import SlimmableSpec
from splitnet.nn.yolox.network import YOLOX
from training.distillation.student import StudentSpec

CLASSES, SQUARE = 3, 64
ENCODER = EnsembleSpec(members=2, stem_channels=4, mid_channels=6, channels=8, blocks=1, latent_channels=6)
FRONT = FrontSpec((64, 128), latent_channels=12, channels=8, blocks=1)
SLIMMABLE = SlimmableSpec((34, 67, 100), stem_channels=24, mid_channels=24, channels=24, blocks=1, latent_channels=6)
DECODER = DecoderSpec(channels=12, blocks=1, branch_channels=8, branch_blocks=1)


def student_spec(split_point: str = "dark3") -> StudentSpec:
    """Return a student of 2 widths and 2 qualities."""
    return StudentSpec("yolox-nano", CLASSES, split_point, qualities=2, encoder=ENCODER, decoder=DECODER)


def front_spec(split_point: str = "dark3") -> StudentSpec:
    """Return a student of 2 sizes of canvas, 2 qualities and the detector's own first stages."""
    return StudentSpec("yolox-nano", CLASSES, split_point, qualities=2, encoder=FRONT, decoder=DECODER)


def slimmable_spec() -> StudentSpec:
    """Return a student of 3 widths and 2 qualities, the coarser of which sends half of the latent."""
    encoder = replace(SLIMMABLE, quality_shares=(50, 100))
    return StudentSpec("yolox-nano", CLASSES, qualities=2, encoder=encoder, decoder=DECODER)


def make_teacher(seed: int = 0) -> YOLOX:
    """Return a whole detector with random weights that says different things about different images."""
    torch.manual_seed(seed)
    teacher = YOLOX("yolox-nano", CLASSES).eval()
    with torch.no_grad():
        for parameter in teacher.parameters():
            if parameter.dim() == 4:  # torch's default lets the signal fade from layer to layer
                torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return teacher


def random_images(count: int = 4, height: int = SQUARE, width: int = SQUARE, seed: int = 0) -> np.ndarray:
    """Return smooth random images (count, height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse])


def write_random_images(folder: Path, count: int, height: int, width: int) -> list[Path]:
    """Write `random_images` into a folder; returns their paths."""
    paths = [folder / f"{i}.png" for i in range(count)]
    for path, image in zip(paths, random_images(count, height, width), strict=True):
        assert cv2.imwrite(str(path), image)
    return paths


def forever(batch: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the same batch again and again."""
    while True:
        yield batch
