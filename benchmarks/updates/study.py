"""What a method has to work with, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.updates.quantising import Quantised, Values, of_bits
from benchmarks.updates.tasks import Task
from benchmarks.updates.training_loop import GuidedBatch, Target, Weights, guided, train

NEW_BITS = 6  # of tensors that devices do not have: those of new classes


@dataclass(eq=False)
class Study:
    """A task with its fully trained model."""

    task: Task
    target: Target
    steps: int  # of every training of a method
    seed: int
    differences: dict[str, Values] = field(init=False)  # of tensors that devices have
    news: dict[str, Quantised] = field(init=False)  # the others, as every rival sends them

    def __post_init__(self) -> None:
        """Take the differences."""
        goal, new = self.target.weights, set(self.task.new_names)
        old = {name: value for name, value in self.task.base.items() if name not in new}
        self.differences = {name: (goal[name] - value).numpy() for name, value in old.items()}
        self.news = {name: of_bits(goal[name].numpy(), NEW_BITS) for name in sorted(new)}

    @cached_property
    def batches(self) -> Sequence[GuidedBatch]:
        """Images of the task with what the fully trained model says of them."""
        return guided(self.task, self.target.weights)

    def weights(self, differences: Mapping[str, Values]) -> Weights:
        """Return a model's weights from differences; a tensor that is not named stays as it is."""
        result = {name: value for name, value in self.task.base.items() if name not in self.news}
        for name, value in differences.items():
            result[name] = result[name] + torch.from_numpy(np.ascontiguousarray(value, np.float32))
        return {**result, **{name: torch.from_numpy(one.values) for name, one in self.news.items()}}

    def trained(
        self, latents: Sequence[Tensor], build: Callable[[Sequence[Tensor]], Mapping[str, Tensor]]
    ) -> list[Tensor]:
        """Return numbers trained towards the full model. build: differences of tensors from them, by name."""
        fixed = self.weights({})

        def whole(found: Sequence[Tensor]) -> Mapping[str, Tensor]:
            return {**fixed, **{name: fixed[name] + value for name, value in build(found).items()}}

        return train(self.task.network, latents, whole, self.batches, self.steps)


@dataclass(frozen=True, eq=False)
class Point:
    """One update: what it takes, and what it gives."""

    setting: str
    bytes: int
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class Method:
    """A way of sending an update. Each variant is measured, or taken over from before, as a whole."""

    name: str
    variants: tuple[Any, ...]
    run: Callable[[Study, Any], Iterable[Point]]
    reads_trace: bool = False  # of the full training


def as_matrix(values: Values) -> Values:
    """Return a tensor as rows for its outputs (outputs, rest)."""
    return values.reshape(len(values), -1)
