"""The trainings of this benchmark: the full one, on labels, and that of what is sent, towards what the full one finds.

All methods have the same loss, the same batches in the same order and the same number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.updates.tasks import Task, TrainingBatch
from training.detectors.yolox.losses import yolox_losses
from training.detectors.yolox.reading import detection_error
from training.loop.schedule import learning_rate

FULL_RATE = 4e-4  # of Adam
MAX_GRADIENT_NORM = 35.0
RELATIVE_RATE = 0.02  # of the mean size of what is trained, a step
LATE = 0.8  # share of the steps after which distances of boxes count as well, as in YOLOX's own recipe

Weights = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Target:
    """The fully trained model, and what its training knows of each weight."""

    weights: Weights
    contributions: Weights  # what each weight's steps took off the loss: the sum of -step * gradient
    last_steps: Weights  # size of the step that the optimiser would take at the end, from its state

    @property
    def is_traced(self) -> bool:
        """Whether more is known than the weights: a model that was trained elsewhere has no trace."""
        return bool(self.contributions)


@dataclass(frozen=True, eq=False)
class GuidedBatch:
    """Images and what the fully trained model says of them, (N, A, 5 + classes) raw."""

    images: Tensor
    wanted: Tensor


def fully_trained(task: Task, steps: int) -> Target:
    """Return the model trained in all its weights, from what devices have, on the labels."""
    network = task.network
    network.load_state_dict(task.start)
    parameters = dict(network.named_parameters())
    optimiser = torch.optim.Adam(parameters.values(), lr=FULL_RATE, betas=(0.9, 0.99))
    contributions = {name: torch.zeros_like(value) for name, value in parameters.items()}
    square = task.held_out.images.shape[2]
    for step, batch in enumerate(islice(cycle(task.pool), steps)):
        optimiser.param_groups[0]["lr"] = FULL_RATE * learning_rate(step / steps, 0.05)
        optimiser.zero_grad(set_to_none=True)
        losses = yolox_losses(network(batch.images), batch.boxes, batch.labels, square, step >= LATE * steps)
        losses.pop("positives")
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(parameters.values(), MAX_GRADIENT_NORM)
        before = {name: value.detach().clone() for name, value in parameters.items()}
        optimiser.step()
        for name, value in parameters.items():
            if value.grad is not None:
                contributions[name] -= (value.detach() - before[name]) * value.grad
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return Target(weights, contributions, _last_steps(optimiser, parameters))


def _last_steps(optimiser: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> Weights:
    """Return the size of Adam's step for each weight, from the moments that it holds."""
    sizes = {}
    for name, parameter in parameters.items():
        state = optimiser.state[parameter]
        sizes[name] = state["exp_avg"].abs() / (state["exp_avg_sq"].sqrt() + 1e-8)
    return sizes


@torch.inference_mode()
def guided(task: Task, weights: Mapping[str, Tensor]) -> list[GuidedBatch]:
    """Return the images of a task with what the fully trained model says of them."""
    task.network.load_state_dict(weights)
    return [GuidedBatch(batch.images, _clone(task.network(batch.images))) for batch in task.pool]


def _clone(raw: Tensor) -> Tensor:
    return raw.clone().half()


def guided_loss(network: nn.Module, batch: GuidedBatch) -> Tensor:
    """Return how far a model is from the fully trained one, a scalar."""
    return detection_error(network(batch.images).float(), batch.wanted.float())


def train(
    network: nn.Module,
    latents: Sequence[Tensor],
    build: Callable[[Sequence[Tensor]], Mapping[str, Tensor]],
    batches: Sequence[GuidedBatch],
    steps: int,
) -> list[Tensor]:
    """Return numbers trained so that the model built of them is like the fully trained one.

    latents: where they begin; a step moves each by about RELATIVE_RATE of its tensor's mean size. build: weights of a
    model from them, by name; those of the model itself serve for the rest.
    """
    trained = [one.detach().clone().requires_grad_() for one in latents]
    groups = [{"params": [one], "peak": RELATIVE_RATE * _size(one)} for one in trained]
    optimiser = torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.99))
    for step, batch in enumerate(islice(cycle(batches), steps)):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * learning_rate(step / steps, 0.05)
        optimiser.zero_grad(set_to_none=True)
        raw = functional_call(network, dict(build(trained)), (batch.images,))
        detection_error(raw.float(), batch.wanted.float()).backward()
        optimiser.step()
    return [one.detach() for one in trained]


def endless(batches: Sequence[GuidedBatch] | Sequence[TrainingBatch]) -> Iterator[GuidedBatch | TrainingBatch]:
    """Yield batches for ever."""
    return cycle(batches)


def _size(values: Tensor) -> float:
    return max(float(values.detach().pow(2).mean().sqrt()), 1e-8)
