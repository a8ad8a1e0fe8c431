"""Train a split detector from an unsplit one, without labels.

An ensemble learns in two stages in one run: first encoder and decoder learn the teacher's features at the split point,
with the rest of the detector frozen; then everything learns the teacher's neck and detections as well. A front, which
begins as a split detector already, learns all at once (`recipe`). Each picture of a batch draws its own width and
quality (`rate.uniform_operating_points`); of a slimmable encoder, groups of pictures share a width
(`rate.sandwich_operating_points`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.detector import Detector
from splitnet.nn.layers import place
from splitnet.nn.slimmable import SlimmableSpec
from training.detector_family import family_of
from training.losses import distillation_loss
from training.muon import Muon, is_matrix
from training.optimise import apply_gradients, set_learning_rate
from training.photographs import check_square, on_grey_square
from training.rate import sandwich_operating_points, uniform_operating_points
from training.recipe import FRONT, Recipe
from training.schedule import learning_rate
from training.slimmable import SlimmableEncoder
from training.student import MovingAverage, Student, StudentSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistillConfig:
    """Settings of a distillation."""

    square: int = 256  # side of the training square, pixels
    recipe: Recipe = FRONT
    seed: int = 0
    device: str = "cpu"
    frozen_norm: bool = False  # the encoder's normalisation keeps the statistics it has
    train_front: bool = False  # the detector's own stages on the device learn, too: for a last run
    compile: bool = False  # fuse the networks: minutes to begin with, then half as fast again on a CPU

    def __post_init__(self) -> None:
        """Raise ConfigError on a square that no detector takes."""
        check_square(self.square)


class Distillation:
    """A `run.Task`: student, teacher and optimiser."""

    def __init__(
        self,
        config: DistillConfig,
        spec: StudentSpec,
        teacher: Detector,
        begin: Callable[[Student, Detector], None] | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        """Take a whole, fused teacher. ConfigError if settings and sizes contradict one another.

        begin: gives the student its first weights, if they are not random. class_names: kept in checkpoints.
        """
        if config.recipe.qualities != spec.qualities:
            raise ConfigError(f"{config.recipe.qualities} prices for {spec.qualities} qualities")
        is_slimmable = isinstance(spec.encoder, SlimmableSpec)
        if is_slimmable and config.frozen_norm:
            raise ConfigError("a slimmable encoder is normalised by what runs through it: leave --frozen-norm out")
        self.draw = sandwich_operating_points if is_slimmable else uniform_operating_points
        torch.manual_seed(config.seed)
        self.class_names = list(class_names)
        self.config, self.spec, self.reading = config, spec, family_of(spec.detector).reading
        self.device = torch.device(config.device)
        self.teacher = place(teacher.eval().requires_grad_(False), self.device)
        self.student = Student(spec)
        self.student.take_tail(teacher)
        if config.train_front:
            self.student.train_front()
        if begin is not None:
            begin(self.student, self.teacher)
        place(self.student, self.device)
        self.average = MovingAverage(self.student)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.prices = torch.tensor(config.recipe.prices, device=self.device)
        self.muon, self.adam = _optimisers(self.student, config)
        if config.compile:
            _compile(self.teacher, self.student)

    def train(self, batch: NDArray[Any], progress: float) -> dict[str, list[float]]:
        """Do one step (`run.Task`)."""
        self.student.train()
        self.student.encoder.train(not self.config.frozen_norm)
        self.student.tail.requires_grad_(self.config.recipe.is_joint(progress))
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
        recipe = self.config.recipe
        points = self.draw(len(canvas), self.spec.widths, self.spec.qualities, self.generator)
        widths, qualities = (p.to(self.device) for p in points)
        outputs, quantised = self.student(canvas, self.config.square, widths, qualities, recipe.is_joint(progress))
        terms = distillation_loss(outputs, teacher, recipe.loss_weights(progress), self.reading)
        bits_per_pixel = quantised.bits / (canvas.shape[2] * canvas.shape[3])
        price = (self.prices[qualities] * bits_per_pixel).mean() * recipe.price_factor(progress)
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
            "class_names": self.class_names,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state (`run.Task`)."""
        if state.get("spec") != asdict(self.spec):
            raise ConfigError("the checkpoint was made with other sizes; give another --run or the same sizes")
        if state.get("class_names", self.class_names) != self.class_names:  # checkpoints did not always have them
            raise ConfigError("the checkpoint was made with other classes; give another --run")
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
    recipe = config.recipe
    linear, front, tail = student.linear_parameters(), student.front_parameters(), list(student.tail.parameters())
    apart = {id(p) for p in (*linear, *front, *tail)}
    trained = [(n, p) for n, p in student.named_parameters() if p.requires_grad and id(p) not in apart]
    stacked = [p for n, p in trained if is_matrix(p) and n.startswith("encoder.")]
    single = [p for n, p in trained if is_matrix(p) and n.startswith("decoder.")]
    matrices_apart = apart | {id(p) for p in (*stacked, *single)}
    others = [p for _, p in trained if id(p) not in matrices_apart]
    matrices = [{"params": stacked, "stack": student.spec.stacked}, {"params": single, "stack": 1}]
    muon = Muon([{**group, "peak": recipe.matrix_rate} for group in matrices], recipe.matrix_rate)
    pretrained = ((front, recipe.front_rate), (tail, recipe.tail_rate))
    groups = ((others, recipe.peak_rate), (linear, recipe.linear_rate), *pretrained)
    rest = [{"params": parameters, "peak": rate} for parameters, rate in groups if parameters]
    return muon, torch.optim.AdamW(rest, lr=recipe.peak_rate, weight_decay=1e-4)


def _load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a stored state; the settings of this run win over those of the one that stored it.

    Where other parameters are trained than then, nothing is known of some of them, and all begin anew.
    """
    if [len(group["params"]) for group in optimiser.param_groups] != [len(g["params"]) for g in state["param_groups"]]:
        log.info("other parameters are trained than before: their optimiser begins anew")
        return
    peaks = [group["peak"] for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, peak in zip(optimiser.param_groups, peaks, strict=True):
        group["peak"] = peak


def _compile(teacher: Detector, student: Student) -> None:
    """Replace what runs in every step by its compiled form, once for each shape: code for any shape is slow.

    The tail stays: it would not gain (docs/training.md). So does a slimmable encoder: every width of it, and every size
    of a group, would be a shape of its own.
    """
    parts: list[tuple[nn.Module, str]] = [(teacher, "trace"), (student.decoder, "forward")]
    if not isinstance(student.encoder, SlimmableEncoder):
        parts.append((student.encoder, "latents" if hasattr(student.encoder, "latents") else "forward"))
    for module, name in parts:
        setattr(module, name, torch.compile(getattr(module, name), dynamic=False))
