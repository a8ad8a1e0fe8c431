"""Train a split detector from an unsplit one, without labels.

Two stages in one run: first encoder and decoder learn the teacher's features at the split point, with the
rest of the detector frozen; then everything learns the teacher's neck and detections as well. Each picture of
a batch draws its own width and quality (`rate.uniform_operating_points`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.nn.layers import place
from splitnet.nn.yolox import YOLOX
from training.losses import distillation_loss
from training.muon import Muon, is_matrix
from training.optimise import apply_gradients, set_learning_rate
from training.photographs import check_square, on_grey_square
from training.rate import uniform_operating_points
from training.schedule import is_joint, learning_rate, loss_weights, price_factor
from training.student import MovingAverage, Student, StudentSpec


@dataclass(frozen=True)
class DistillConfig:
    """Settings of a distillation."""

    square: int = 256  # side of the training square, pixels
    matrix_rate: float = 2e-2  # learning rate of Muon, for the dense convolutions of encoder and decoder
    peak_rate: float = 2e-3  # of AdamW, for their other parameters
    tail_rate: float = 2e-5  # of the pretrained rest of the detector; higher ones lose what it knew
    # Price of a bit per pixel for each quality, fewest bytes first. Geometric: bytes then are too.
    prices: tuple[float, ...] = (8.0, 4.2, 2.2, 1.15, 0.6, 0.32)
    seed: int = 0
    device: str = "cpu"
    frozen_norm: bool = False  # the encoder's normalisation keeps the statistics it has
    compile: bool = False  # fuse the networks: minutes to begin with, then half as fast again on a CPU

    def __post_init__(self) -> None:
        """Raise ConfigError on a square that no detector takes."""
        check_square(self.square)


class Distillation:
    """A `run.Task`: student, teacher and optimiser."""

    def __init__(self, config: DistillConfig, spec: StudentSpec, teacher: YOLOX) -> None:
        """Take a whole, fused teacher. ConfigError if settings and sizes contradict one another."""
        if len(config.prices) != spec.qualities:
            raise ConfigError(f"{len(config.prices)} prices for {spec.qualities} qualities")
        torch.manual_seed(config.seed)
        self.config, self.spec = config, spec
        self.device = torch.device(config.device)
        self.teacher = place(teacher.eval().requires_grad_(False), self.device)
        self.student = Student(spec)
        self.student.take_tail(teacher)
        place(self.student, self.device)
        self.average = MovingAverage(self.student)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.prices = torch.tensor(config.prices, device=self.device)
        self.muon, self.adam = _optimisers(self.student, config)
        if config.compile:
            _compile(self.teacher, self.student)

    def train(self, batch: NDArray[Any], progress: float) -> dict[str, list[float]]:
        """Do one step (`run.Task`)."""
        self.student.train()
        self.student.encoder.train(not self.config.frozen_norm)
        self.student.tail.requires_grad_(is_joint(progress))
        for optimiser in (self.muon, self.adam):
            set_learning_rate(optimiser, learning_rate(progress))
        figures, loss = self._loss(batch, progress)
        if apply_gradients(loss, self.student, self.muon, self.adam):
            self.average.update(self.student)
        return figures

    def _loss(self, batch: NDArray[Any], progress: float) -> tuple[dict[str, list[float]], Tensor]:
        canvas, square = on_grey_square(batch, self.config.square, self.device)
        with torch.no_grad():
            teacher = self.teacher.trace({"image": square})
        points = uniform_operating_points(len(canvas), self.spec.encoder.members, self.spec.qualities, self.generator)
        widths, qualities = (p.to(self.device) for p in points)
        outputs, quantised = self.student(canvas, self.config.square, widths, qualities, is_joint(progress))
        terms = distillation_loss(outputs, teacher, loss_weights(progress))
        bits_per_pixel = quantised.bits / (canvas.shape[2] * canvas.shape[3])
        price = (self.prices[qualities] * bits_per_pixel).mean() * price_factor(progress)
        figures: dict[str, list[float]] = defaultdict(list)
        for name, term in terms.items():
            figures[name].append(term.item())
        for quality, rate in zip(qualities.tolist(), bits_per_pixel.tolist(), strict=True):
            figures[f"bpp{quality}"].append(rate)
        return figures, torch.stack(list(terms.values())).sum() + price

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on (`run.Task`)."""
        return {
            "student": self.student.state_dict(),
            "average": self.average.state,
            "updates": self.average.updates,
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "generator": self.generator.get_state(),
            "spec": asdict(self.spec),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state (`run.Task`)."""
        if state.get("spec") != asdict(self.spec):
            raise ConfigError("the checkpoint was made with other sizes; give another --run or the same sizes")
        self.student.load_state_dict(state["student"])
        self.average.load(state["average"], state["updates"])
        _load_optimiser(self.muon, state["muon"])
        _load_optimiser(self.adam, state["adam"])
        self.generator.set_state(state["generator"])

    def result(self) -> Student:
        """Return the averaged student, for export, on the CPU in evaluation mode."""
        student = Student(self.spec)
        student.load_state_dict(self.average.state)
        return student.cpu().eval()


def _optimisers(student: Student, config: DistillConfig) -> tuple[Muon, torch.optim.AdamW]:
    """Return Muon for the dense convolutions of encoder and decoder, AdamW for all the rest."""
    stacked = [p for p in student.encoder.parameters() if is_matrix(p)]
    single = [p for p in student.decoder.parameters() if is_matrix(p)]
    tail = list(student.tail.parameters())
    known = {id(p) for p in (*stacked, *single, *tail)}
    others = [p for p in student.parameters() if id(p) not in known]
    matrices = [{"params": stacked, "stack": student.spec.encoder.members}, {"params": single, "stack": 1}]
    muon = Muon([{**group, "peak": config.matrix_rate} for group in matrices], config.matrix_rate)
    rest = [{"params": others, "peak": config.peak_rate}, {"params": tail, "peak": config.tail_rate}]
    return muon, torch.optim.AdamW(rest, lr=config.peak_rate, weight_decay=1e-4)


def _load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a stored state; the settings of this run win over those of the one that stored it."""
    peaks = [group["peak"] for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, peak in zip(optimiser.param_groups, peaks, strict=True):
        group["peak"] = peak


def _compile(teacher: YOLOX, student: Student) -> None:
    """Replace what runs in every step by its compiled form, once for each shape: code for any shape is slow.

    The tail stays: it would not gain (docs/training.md).
    """
    for module, name in ((teacher, "trace"), (student.encoder, "latents"), (student.decoder, "forward")):
        setattr(module, name, torch.compile(getattr(module, name), dynamic=False))
