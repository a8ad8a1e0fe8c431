"""Train a split detector from an unsplit one, without labels.

An ensemble learns in two stages in one run. First encoder and decoder learn the teacher's features at the split point,
with the rest of the detector frozen. Then everything learns the teacher's neck and detections as well. A front begins
as a split detector already and learns all at once (`recipe`). Each image of a batch draws its own width and quality
(`rate.uniform_operating_points`); of a slimmable encoder, groups of images share a width
(`rate.sandwich_operating_points`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.blocks import place
from splitnet.nn.detector import Detector
from training.data.crops import check_square, on_grey_square
from training.detectors.family import family_of
from training.distillation.consistency import change_bits
from training.distillation.losses import distillation_loss
from training.distillation.optimisers import load_optimiser, optimisers_of
from training.distillation.rate import sandwich_operating_points, uniform_operating_points
from training.distillation.recipe import FRONT, Recipe
from training.distillation.student import Student, StudentSpec
from training.distillation.trained_kinds import kind_of
from training.loop.moving_average import average_state, load_average, moving_average
from training.loop.optimise import apply_gradients, set_learning_rate
from training.loop.precision import in_single, is_mixed, mixed_precision, single_precision
from training.loop.processes import ALONE, Processes
from training.loop.schedule import learning_rate


@dataclass(frozen=True)
class DistillConfig:
    """Settings of a distillation."""

    square: int = 256  # side of the training square, pixels
    recipe: Recipe = FRONT
    seed: int = 0
    device: str = "cpu"
    precision: str = "auto"  # one of precision.PRECISIONS; the student's encoder is in single precision in any case
    frozen_norm: bool = False  # the encoder's normalisation keeps the statistics it has
    train_front: bool = False  # the detector's own stages on the device learn, too: for a last run
    consistency: float = 0.0  # what a bit of a change between neighbouring frames costs, of a whole frame's price
    compile: bool = False  # fuse the networks: minutes to begin with, then half as fast again on a CPU

    def __post_init__(self) -> None:
        """Raise ConfigError on a square that no detector takes, or a weight below 0."""
        check_square(self.square)
        if not 0 <= self.consistency < float("inf"):
            raise ConfigError("--consistency must be 0 or more")


class Distillation:
    """A `run.Task`: student, teacher and optimiser."""

    def __init__(
        self,
        config: DistillConfig,
        spec: StudentSpec,
        teacher: Detector,
        begin: Callable[[Student, Detector], None] | None = None,
        class_names: Sequence[str] = (),
        processes: Processes = ALONE,
        neighbours: Callable[[np.random.Generator], NDArray[Any]] | None = None,
    ) -> None:
        """Take a whole, fused teacher. ConfigError if settings and sizes contradict one another.

        begin: gives the student its first weights, on the CPU, if they are not random. class_names: kept in
        checkpoints. processes: each is given its own part of every batch. neighbours: draws pairs of neighbouring
        frames (2, N, h, w, 3) uint8, for a consistency above 0.
        """
        if config.recipe.qualities != spec.qualities:
            raise ConfigError(f"{config.recipe.qualities} prices for {spec.qualities} qualities")
        needs_statistics = kind_of(spec.encoder).needs_statistics
        if needs_statistics and config.frozen_norm:
            raise ConfigError("a slimmable encoder is normalised by what runs through it: leave --frozen-norm out")
        self.draw = sandwich_operating_points if needs_statistics else uniform_operating_points
        torch.manual_seed(config.seed)
        self.class_names, self.neighbours = list(class_names), neighbours
        self.config, self.spec, self.reading = config, spec, family_of(spec.detector).reading
        self.processes, self.device = processes, processes.device(config.device)
        self.is_mixed = is_mixed(config.precision, self.device)
        teacher = teacher.eval().requires_grad_(False)
        self.student = Student(spec)
        self.student.take_tail(teacher)
        if config.train_front:
            self.student.train_front()
        if begin is not None and processes.is_first:
            begin(self.student, teacher)
        self.teacher = place(teacher, self.device)
        processes.agree(place(self.student, self.device))
        if not processes.is_first:
            torch.manual_seed(config.seed + processes.rank)  # another noise for other images
        self.average = moving_average(self.student)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.prices = torch.tensor(config.recipe.prices, device=self.device)
        self.muon, self.adam = optimisers_of(self.student, config.recipe)
        if config.compile:
            _compile(self.teacher, self.student)

    def train(self, batch: NDArray[Any], progress: float) -> dict[str, list[float]]:
        """Do one step (`run.Task`)."""
        self.student.train()
        self.student.encoder.train(not self.config.frozen_norm)
        self.student.tail.requires_grad_(self.config.recipe.trains_tail(progress))
        for optimiser in (self.muon, self.adam):
            set_learning_rate(optimiser, learning_rate(progress))
        figures, loss = self._loss(batch, progress)
        if apply_gradients(loss, self.student, self.muon, self.adam, processes=self.processes):
            self.average.update_parameters(self.student)
        return figures

    def _loss(self, batch: NDArray[Any], progress: float) -> tuple[dict[str, list[float]], Tensor]:
        canvas, square = on_grey_square(batch, self.config.square, self.device)
        recipe = self.config.recipe
        widths, qualities = self._operating_points(len(canvas))
        with mixed_precision(self.device, self.is_mixed):
            with torch.no_grad():
                teacher = self.teacher.trace({"image": square})
            outputs, quantised = self.student(canvas, self.config.square, widths, qualities, recipe.is_joint(progress))
        weights = recipe.loss_weights(progress)
        terms = distillation_loss(in_single(outputs), in_single(teacher), weights, self.reading)
        bits_per_pixel = quantised.bits / (canvas.shape[2] * canvas.shape[3])
        price = (self.prices[qualities] * bits_per_pixel).mean() * recipe.price_factor(progress)
        if self.neighbours is not None and self.config.consistency:
            terms["consistency"] = self.config.consistency * self._consistency(self.neighbours)
        figures: dict[str, list[float]] = defaultdict(list)
        for name, term in terms.items():
            figures[name].append(term.item())
        for quality, rate in zip(qualities.tolist(), bits_per_pixel.tolist(), strict=True):
            figures[f"bpp{quality}"].append(rate)
        return figures, torch.stack(list(terms.values())).sum() + price

    def _consistency(self, neighbours: Callable[[np.random.Generator], NDArray[Any]]) -> Tensor:
        """Return the price of what changes between neighbouring frames, each pair at an operating point of its own."""
        drawn = int(torch.randint(2**31, (1,), generator=self.generator))
        pairs = neighbours(np.random.default_rng((drawn, self.processes.rank)))
        canvas, _ = on_grey_square(np.concatenate(pairs), self.config.square, self.device)
        widths, qualities = self._operating_points(pairs.shape[1])
        student = self.student
        with single_precision(self.device):
            latents = student.kind.latents(student.encoder, canvas, widths.repeat(2))
            first, second = student.quantiser.in_steps(latents, widths.repeat(2), qualities.repeat(2)).chunk(2)
            bits_per_pixel = change_bits(first, second) / (canvas.shape[2] * canvas.shape[3])
        return (self.prices[qualities] * bits_per_pixel).mean()

    def _operating_points(self, count: int) -> tuple[Tensor, Tensor]:
        """Return this process's part of what all of them draw alike: so a checkpoint is that of all."""
        rank, processes = self.processes.rank, self.processes.count
        points = self.draw(count * processes, self.spec.widths, self.spec.qualities, self.generator)
        widths, qualities = (p[rank::processes].to(self.device) for p in points)
        return widths, qualities

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on (`run.Task`)."""
        return {
            "student": self.student.state_dict(),
            **average_state(self.average),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "generator": self.generator.get_state(),
            "spec": self.spec.to_json(),
            "class_names": self.class_names,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state (`run.Task`)."""
        if state.get("spec") != self.spec.to_json():
            raise ConfigError("the checkpoint was made with other sizes; give another --run or the same sizes")
        if state.get("class_names", self.class_names) != self.class_names:  # checkpoints did not always have them
            raise ConfigError("the checkpoint was made with other classes; give another --run")
        self.student.load_state_dict(state["student"])
        load_average(self.average, state)
        load_optimiser(self.muon, state["muon"])
        load_optimiser(self.adam, state["adam"])
        self.generator.set_state(state["generator"])

    def result(self) -> Student:
        """Return the averaged student, for export, on the CPU in evaluation mode."""
        student = Student(self.spec)
        student.load_state_dict(self.average.module.state_dict())
        return student.cpu().eval()


def _compile(teacher: Detector, student: Student) -> None:
    """Replace what runs in every step by its compiled form, once for each shape: code for any shape is slow.

    The tail stays: it would not gain (docs/training.md). So does a slimmable encoder: every width of it, and every size
    of a group, would be a shape of its own.
    """
    parts: list[tuple[nn.Module, str]] = [(teacher, "trace"), (student.decoder, "forward")]
    if student.kind.entry:
        parts.append((student.encoder, student.kind.entry))
    for module, name in parts:
        setattr(module, name, torch.compile(getattr(module, name), dynamic=False))
