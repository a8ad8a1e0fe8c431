"""The training of a group's teacher; the recipe is described in `training.groups.teacher`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.errors import ConfigError
from training.groups.augmented import Augmented, random_shifts
from training.groups.class_images import ClassImages
from training.groups.targets import CPU
from training.groups.teacher import Teacher
from training.loop.optimise import set_learning_rate
from training.loop.precision import is_mixed, mixed_precision

# Published values of airbench. Rates and decays are per 1024 images, as there.
RATE, MOMENTUM, DECAY, BIAS_FACTOR = 11.5, 0.85, 0.0153, 64.0
SMOOTHING = 0.2
START, PEAK_AT, END = 0.2, 0.23, 0.07  # the triangle of the learning rate, as shares of peak and steps
AVERAGE_EVERY, AVERAGE_DECAY = 5, 0.95
WHITENING_BIAS_EPOCHS = 3
WHITENING_IMAGES = 5000
SMALL_SHARE = 2 / 3  # of the steps, at the beginning: images of three quarters of the side


@dataclass(frozen=True, eq=False)
class TeacherBatch:
    """Images (B, 3, S, S) float32 and labels (B,)."""

    images: Tensor
    labels: Tensor


def teacher_batches(
    images: ClassImages, batch_size: int, steps: int, step: int, seed: int, small_share: float = SMALL_SHARE
) -> Iterator[TeacherBatch]:
    """Yield the batches from a step on. An image that is mirrored in one epoch is not in the next."""
    augmented, per_epoch = Augmented(images.pixels), max(1, len(images) // batch_size)
    mirrored = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.5
    while True:
        epoch, place = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(seed + 1 + epoch)
        order, shifts = torch.randperm(len(images), generator=generator), random_shifts(len(images), generator)
        for index in range(place, per_epoch):
            chosen = order[index * batch_size : (index + 1) * batch_size]
            flipped = mirrored[chosen] ^ bool(epoch % 2)
            pixels = augmented.batch(chosen, flipped, shifts[chosen], small=step < small_share * steps)
            yield TeacherBatch(pixels, images.labels[chosen])
            step += 1


class TeacherTask:
    """A `run.Task`."""

    def __init__(self, teacher: Teacher, batch_size: int, steps_per_epoch: int, steps: int) -> None:
        self.teacher = teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.steps, self.bias_steps = steps, WHITENING_BIAS_EPOCHS * steps_per_epoch
        self.step = 0
        thousand = 1024 * (1 + 1 / (1 - MOMENTUM))
        rate, decay = RATE / thousand, DECAY * batch_size / thousand
        named = [(name, one) for name, one in teacher.named_parameters() if one.requires_grad]
        biases = [one for name, one in named if name.endswith("bias") and "whiten" not in name]
        known = set(map(id, biases))
        others = [one for _, one in named if id(one) not in known]
        groups: list[dict[str, Any]] = [
            {"params": biases, "peak": BIAS_FACTOR * rate, "weight_decay": decay / (BIAS_FACTOR * rate)},
            {"params": others, "peak": rate, "weight_decay": decay / rate},
        ]
        self.optimiser = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
        self.slow = {key: value.clone() for key, value in teacher.state_dict().items()}

    def train(self, batch: TeacherBatch, progress: float) -> dict[str, list[float]]:
        """Do one step; returns the loss of an image."""
        self.teacher.train()
        set_learning_rate(self.optimiser, triangle(progress))
        with mixed_precision(CPU, is_mixed("auto", CPU)):
            logits = self.teacher(batch.images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), batch.labels, label_smoothing=SMOOTHING, reduction="sum")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.step >= self.bias_steps and self.teacher.whiten.bias is not None:
            self.teacher.whiten.bias.grad = None
        self.optimiser.step()
        self.step += 1
        if self.step == self.steps:
            self._average(1.0)
        elif self.step % AVERAGE_EVERY == 0:
            self._average(AVERAGE_DECAY**AVERAGE_EVERY * (self.step / self.steps) ** 3)
        return {"loss": [loss.item() / len(batch.labels)]}

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on."""
        entries = {"module": self.teacher.state_dict(), "optimiser": self.optimiser.state_dict(), "slow": self.slow}
        return {**entries, "spec": vars(self.teacher.spec)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from such a state; ConfigError if it is of another network."""
        try:
            self.teacher.load_state_dict(state["module"])
            if "optimiser" in state:
                self.optimiser.load_state_dict(state["optimiser"])
            self.slow = state.get("slow", self.slow)
            self.step = state["step"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise ConfigError("the checkpoint is of another teacher: give another --run") from error

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """Move the slow weights towards the fast ones, and go on from them. decay: what is kept of the slow ones."""
        for key, value in self.teacher.state_dict().items():
            if value.is_floating_point():
                self.slow[key].lerp_(value, 1 - decay)
                value.copy_(self.slow[key])


def triangle(progress: float) -> float:
    """Return the factor on the peak learning rate: up to it in a straight line, then down."""
    if progress < PEAK_AT:
        return START + (1 - START) * progress / PEAK_AT
    return 1 + (END - 1) * (progress - PEAK_AT) / (1 - PEAK_AT)
