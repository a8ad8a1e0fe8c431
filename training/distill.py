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
from training.optimise import apply_gradients, set_learning_rate
from training.photographs import check_square, on_grey_square
from training.rate import uniform_operating_points
from training.schedule import is_joint, learning_rate, loss_weights, price_factor
from training.student import MovingAverage, Student, StudentSpec


@dataclass(frozen=True)
class DistillConfig:
    """Settings of a distillation."""

    square: int = 256  # side of the training square, pixels
    peak_rate: float = 2e-3  # learning rate of encoder and decoder
    tail_rate: float = 2e-5  # of the pretrained rest of the detector; higher ones lose what it knew
    # Price of a bit per pixel for each quality, fewest bytes first. Geometric: bytes then are too.
    prices: tuple[float, ...] = (8.0, 4.2, 2.2, 1.15, 0.6, 0.32)
    seed: int = 0
    device: str = "cpu"

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
        self.optimiser = self._optimiser()

    def _optimiser(self) -> torch.optim.Optimizer:
        tail = list(self.student.tail.parameters())
        known = {id(p) for p in tail}
        fresh = [p for p in self.student.parameters() if id(p) not in known]
        groups = [{"params": p, "peak": peak} for p, peak in zip((fresh, tail), self._peaks(), strict=True)]
        return torch.optim.AdamW(groups, lr=self.config.peak_rate, weight_decay=1e-4)

    def _peaks(self) -> tuple[float, float]:
        return self.config.peak_rate, self.config.tail_rate

    def train(self, batch: NDArray[Any], progress: float) -> dict[str, list[float]]:
        """Do one step (`run.Task`)."""
        self.student.train()
        self.student.tail.requires_grad_(is_joint(progress))
        set_learning_rate(self.optimiser, learning_rate(progress))
        figures, loss = self._loss(batch, progress)
        if apply_gradients(loss, self.student, self.optimiser):
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
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "spec": asdict(self.spec),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state (`run.Task`)."""
        if state.get("spec") != asdict(self.spec):
            raise ConfigError("the checkpoint was made with other sizes; give another --run or the same sizes")
        self.student.load_state_dict(state["student"])
        self.average.load(state["average"], state["updates"])
        self.optimiser.load_state_dict(state["optimiser"])
        # The settings of this command win over those of the one that wrote the checkpoint.
        for group, peak in zip(self.optimiser.param_groups, self._peaks(), strict=True):
            group["peak"] = peak
        self.generator.set_state(state["generator"])

    def result(self) -> Student:
        """Return the averaged student, for export, on the CPU in evaluation mode."""
        student = Student(self.spec)
        student.load_state_dict(self.average.state)
        return student.cpu().eval()
