"""Train an unsplit detector to mind compression less: the `image` mode sends images through JPEG and WebP.

The student sees a compressed image, the teacher the clean one; the student must say the same. Some images
stay clean, so that nothing is lost there. No labels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.codec.image_codec import compress_image
from splitnet.errors import ConfigError
from splitnet.nn.architectures import architecture_of
from splitnet.nn.blocks import place
from splitnet.nn.detector import Detector
from splitnet.operating_point import Codec
from training.data.crops import check_square, on_grey_square, on_whole_square
from training.detectors.family import family_of
from training.distillation.losses import distillation_loss
from training.loop.moving_average import average_state, load_average, moving_average
from training.loop.optimise import apply_gradients, set_learning_rate
from training.loop.precision import in_single, is_mixed, mixed_precision
from training.loop.processes import ALONE, Processes
from training.loop.run import CHECKPOINT, read_checkpoint
from training.loop.schedule import learning_rate

CLEAN_SHARE = 0.2
WEIGHTS = {"dark3": 0.2, "dark4": 0.3, "p3": 0.7, "p4": 0.7, "p5": 0.7, "raw": 0.25}


@dataclass(frozen=True)
class RecompressConfig:
    """Settings of a training against compression."""

    square: int = 256  # side of the training square, pixels
    peak_rate: float = 2e-5  # learning rate; higher ones lose what the detector knew (docs/training.md)
    seed: int = 0
    device: str = "cpu"
    precision: str = "auto"  # one of precision.PRECISIONS

    def __post_init__(self) -> None:
        """Raise ConfigError on a square that no detector takes."""
        check_square(self.square)


class Recompression:
    """A `run.Task`: a detector and its own former self as teacher."""

    def __init__(self, config: RecompressConfig, teacher: Detector, processes: Processes = ALONE) -> None:
        """Take a whole, fused detector; it stays as it is."""
        self.config, self.processes, self.device = config, processes, processes.device(config.device)
        self.is_mixed = is_mixed(config.precision, self.device)
        self.teacher = place(teacher.eval().requires_grad_(False), self.device)
        self.student = copy.deepcopy(self.teacher).requires_grad_(True)
        processes.agree(self.student)
        self.average = moving_average(self.student)
        self.rng = np.random.default_rng([config.seed, processes.rank])
        groups = [{"params": list(self.student.parameters()), "peak": config.peak_rate}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.peak_rate, weight_decay=1e-4)

    def train(self, batch: NDArray[Any], progress: float) -> dict[str, list[float]]:
        """Do one step (`run.Task`)."""
        set_learning_rate(self.optimiser, learning_rate(progress))
        place_on = on_whole_square if architecture_of(self.teacher.name).fills else on_grey_square
        _, clean = place_on(batch, self.config.square, self.device)
        _, compressed = place_on(self._compress(batch), self.config.square, self.device)
        with mixed_precision(self.device, self.is_mixed):
            with torch.no_grad():
                teacher = self.teacher.trace({"image": clean})
            student = self.student.trace({"image": compressed})
        reading = family_of(self.teacher.name).reading
        terms = distillation_loss(in_single(student), in_single(teacher), WEIGHTS, reading)
        loss = torch.stack(list(terms.values())).sum()
        if apply_gradients(loss, self.student, self.optimiser, processes=self.processes):
            self.average.update_parameters(self.student)
        return {name: [term.item()] for name, term in terms.items()}

    def _compress(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.stack([recompressed(image, self.rng) for image in batch])

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on (`run.Task`)."""
        return {
            "recompressed": self.student.state_dict(),
            **average_state(self.average),
            "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.bit_generator.state,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state (`run.Task`)."""
        if "recompressed" not in state:
            raise ConfigError("the checkpoint is of another kind of training; give another --run")
        self.student.load_state_dict(state["recompressed"])
        load_average(self.average, state)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.processes.is_first:  # whose state it is; the others draw from the beginning
            self.rng.bit_generator.state = state["rng"]

    @staticmethod
    def result(folder: Path) -> dict[str, Tensor]:
        """Return the averaged weights of a run's folder, as of its last checkpoint; ConfigError if it has none."""
        path = folder / CHECKPOINT
        if not path.is_file():
            raise ConfigError(f"{folder} has no {CHECKPOINT}: run `python -m training recompress` first")
        state = read_checkpoint(path)
        if "recompressed" not in state:
            raise ConfigError(f"{path} is of another kind of training")
        average: dict[str, Tensor] = state["average"]
        return average


def recompressed(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a BGR image (h, w, 3) after JPEG or WebP at a random quality, or untouched."""
    if rng.random() < CLEAN_SHARE:
        return image
    codec, lowest = (Codec.JPEG, 5) if rng.random() < 0.6 else (Codec.WEBP, 1)
    # Evenly on a logarithmic scale: low qualities hurt most and are what thin links carry.
    quality = int(np.exp(rng.uniform(np.log(lowest), np.log(90))))
    data = compress_image(np.ascontiguousarray(image), codec, quality)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded.astype(np.uint8, copy=False)
