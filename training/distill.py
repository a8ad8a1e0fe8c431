"""Train a split detector from an unsplit one, without labels.

Two stages in one run: first encoder and decoder learn the teacher's features at the split point, with the
rest of the detector frozen; then everything learns the teacher's neck and detections as well. Each picture of
a batch draws its own width and quality (`rate.uniform_operating_points`).
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from splitnet.errors import ConfigError
from splitnet.letterbox import PADDING_VALUE
from splitnet.nn.yolox import YOLOX
from training.losses import distillation_loss
from training.photographs import CropSpec, CropStream
from training.rate import uniform_operating_points
from training.schedule import is_joint, learning_rate, loss_weights, price_factor
from training.student import MovingAverage, Student, StudentSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistillConfig:
    """Settings of a run."""

    steps: int = 9000
    batch_size: int = 8
    peak_rate: float = 2e-3  # learning rate of encoder and decoder
    tail_rate: float = 2e-4  # of the pretrained rest of the detector
    # Price of a bit per pixel for each quality, fewest bytes first. Geometric: bytes then are too.
    prices: tuple[float, ...] = (4.0, 2.1, 1.1, 0.58, 0.31, 0.16)
    checkpoint_every: int = 250
    log_every: int = 50
    seed: int = 0
    device: str = "cpu"
    crops: CropSpec = field(default_factory=CropSpec)


class Distillation:
    """One run: its networks, its optimiser, where it stands."""

    def __init__(self, config: DistillConfig, spec: StudentSpec, teacher: YOLOX, folder: Path) -> None:
        if len(config.prices) != spec.qualities:
            raise ConfigError(f"{len(config.prices)} prices for {spec.qualities} qualities")
        self.config, self.spec, self.folder = config, spec, folder
        torch.manual_seed(config.seed)
        self.device = torch.device(config.device)
        layout = torch.channels_last
        self.teacher = teacher.eval().requires_grad_(False).to(self.device, memory_format=layout)
        self.student = Student(spec)
        self.student.take_tail(teacher)
        self.student.to(self.device, memory_format=layout)
        self.average = MovingAverage(self.student)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimiser = self._optimiser()
        self.step = 0
        self._sums: dict[str, list[float]] = defaultdict(list)
        folder.mkdir(parents=True, exist_ok=True)

    def _optimiser(self) -> torch.optim.Optimizer:
        tail = list(self.student.tail.parameters())
        known = {id(p) for p in tail}
        fresh = [p for p in self.student.parameters() if id(p) not in known]
        groups = [{"params": fresh, "peak": self.config.peak_rate}, {"params": tail, "peak": self.config.tail_rate}]
        return torch.optim.AdamW(groups, lr=self.config.peak_rate, weight_decay=1e-4)

    @property
    def progress(self) -> float:
        """Share of the steps done, 0..1."""
        return self.step / self.config.steps

    def run(self, stream: CropStream) -> None:
        """Train to the last step, with a checkpoint now and then."""
        batches = iter(stream)
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", smoothing=0.05)
        with (self.folder / "log.jsonl").open("a") as journal:
            while self.step < self.config.steps:
                self._train(batches)
                bar.update()
                if self.step % self.config.log_every == 0:
                    record = self._record()
                    journal.write(json.dumps(record) + "\n")
                    journal.flush()
                    bar.set_postfix_str(_brief(record))
                if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                    self.save()
        bar.close()

    def _train(self, batches: Iterator[NDArray[Any]]) -> None:
        canvas, picture = self._to_tensors(next(batches))
        joint = is_joint(self.progress)
        self.student.train()
        self.student.tail.requires_grad_(joint)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * learning_rate(self.progress)
        with torch.no_grad():
            teacher = self.teacher.trace({"image": picture})
        points = uniform_operating_points(
            len(canvas), self.spec.encoder.members, self.spec.qualities, self.generator
        )
        widths, qualities = (p.to(self.device) for p in points)
        outputs, quantised = self.student(canvas, self.config.crops.square, widths, qualities, joint)
        terms = distillation_loss(outputs, teacher, loss_weights(self.progress))
        bits_per_pixel = quantised.bits / (canvas.shape[2] * canvas.shape[3])
        prices = torch.tensor(self.config.prices, device=self.device)[qualities] * price_factor(self.progress)
        loss = torch.stack(list(terms.values())).sum() + (prices * bits_per_pixel).mean()
        self._apply(loss)
        for name, term in terms.items():
            self._sums[name].append(term.item())
        for quality, rate in zip(qualities.tolist(), bits_per_pixel.tolist(), strict=True):
            self._sums[f"bpp{quality}"].append(rate)

    def _apply(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), 2.0)
        if torch.isfinite(norm):  # one wild batch must not end a day of training
            self.optimiser.step()
            self.average.update(self.student)
        else:
            log.warning("step %d: gradient is not finite, skipped", self.step)
        self.step += 1

    def _to_tensors(self, batch: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Return the canvas (N, 3, h, w) and the same on the grey square (N, 3, S, S)."""
        canvas = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float()
        side = self.config.crops.square
        square = torch.full((len(batch), 3, side, side), float(PADDING_VALUE), device=self.device)
        square = square.to(memory_format=torch.channels_last)
        square[:, :, : canvas.shape[2], : canvas.shape[3]] = canvas
        return canvas, square

    def _record(self) -> dict[str, float]:
        means = {name: sum(values) / len(values) for name, values in sorted(self._sums.items())}
        self._sums.clear()
        return {"step": self.step, "time": time.time(), **means}

    def save(self) -> None:
        """Write a checkpoint; the previous one stays until this one is whole."""
        state = {
            "step": self.step,
            "student": self.student.state_dict(),
            "average": self.average.state,
            "updates": self.average.updates,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "spec": asdict(self.spec),
        }
        partial = self.folder / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "checkpoint.pt")

    def resume(self) -> bool:
        """Go on from the folder's checkpoint, if it has one; say whether it had."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["spec"] != asdict(self.spec):
            raise ConfigError(f"{path} was made with other sizes; give another --out or the same sizes")
        self.student.load_state_dict(state["student"])
        self.average.state, self.average.updates = state["average"], state["updates"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]
        log.info("resumed %s at step %d", path, self.step)
        return True


def _brief(record: dict[str, float]) -> str:
    error = sum(v for k, v in record.items() if k in {"dark3", "dark4"})
    rates = " ".join(f"{v:.3f}" for k, v in record.items() if k.startswith("bpp"))
    return f"features {error:.3f}  raw {record.get('raw', 0):.2f}  bpp {rates}"
