"""Updates are trained: the old weights stay, what is sent of their change is the parameter, its bytes are a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from splitnet.errors import ConfigError, UpdateError
from splitnet.updates.weights.families import DENSE, FACTORS, TensorChange
from splitnet.updates.weights.weight_format import DTYPES, Layout, WeightUpdate, WholeTensor
from splitnet.updates.weights.weight_update import pack_weights, seed_of, updated
from training.loop.schedule import learning_rate
from training.updates.changing import Changing, ChangingTensor
from training.updates.curvature import curvatures
from training.updates.start import CHOICES, SCALES, Price, changes_from, step_code

Loss = Callable[[nn.Module, Any], Tensor]
Progress = Callable[[int, int, float, float], None]  # step, of how many, loss, bytes about
State = Mapping[str, Any]  # tensors of PyTorch or numpy

BITS_A_KILOBYTE = 8000
WARM_UP = 0.05  # share of the steps
GROUP_BITS = 5.0  # of each group of symbols, in the head
CALIBRATE_EVERY = 10  # steps: what is packed is held against the estimate
PRICE_GAIN, MOST_PRICE_GAIN = (
    8.0,
    0.05,
)  # by which the price of a byte follows what is over the budget: of all steps, of one
SETTLED = 0.85  # share of the steps after which the price only rises
FURTHER_SHARE, MOST_FURTHER = 0.05, 12  # steps, of all, that are added while the budget is not met
FURTHER_FROM, FURTHER_PRICE = 0.8, 1.5  # where in the schedule they are, and what the price rises by each time
AIM = 0.97  # of the budget
PATIENT = 0.4  # share of the steps in which the price stays: bytes follow it slowly
START_OVER = 1.25  # times the budget, where the training begins
BISECTIONS = 14
FASTEST = 0.5  # symbols in a step of the training


@dataclass(frozen=True)
class UpdateSettings:
    """Settings of an update's training."""

    steps: int = 300
    rank: int = 8  # of factors at the start, at most; what is not worth its bytes is left out
    families: tuple[str, ...] = (DENSE, SCALES, FACTORS)  # of start.CHOICES
    learning_rate: float = 0.03  # in steps of a quantiser, at least
    pace: float = 2e-4  # in units of the weights: finer steps are taken faster than by `learning_rate`
    tuning_rate: float = 2e-4  # of Adam, where the full training is done here
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError on settings that no training has."""
        if self.steps < 1 or self.rank < 1 or min(self.learning_rate, self.pace) <= 0 or self.seed < 0:
            raise ConfigError("an update is trained for at least one step, of at least rank 1, at a rate above 0")
        unknown = set(self.families) - set(CHOICES)
        if unknown or not self.families:
            raise ConfigError(f"unknown families {', '.join(sorted(unknown))}: choose of {', '.join(CHOICES)}")


@dataclass(frozen=True, eq=False)
class TrainedUpdate:
    """An update, and exactly what it gives."""

    data: bytes
    weights: dict[str, NDArray[Any]]
    rate_weight: float  # what a kilobyte was worth at the end, in units of the loss


def make_update(
    model: nn.Module,
    base: State,
    loss: Loss,
    batches: Iterable[Any],
    rate_weight: float,
    settings: UpdateSettings = UpdateSettings(),
    target: State | None = None,
    progress: Progress | None = None,
    budget_bytes: int | None = None,
) -> TrainedUpdate:
    """Train an update of a model; its parameters are left as the update makes them.

    base: what devices have, float16 or float32; names that are new or of another shape are sent whole. loss: of the
    model on a batch, a scalar. rate_weight: units of the loss for a kilobyte of the update. target: the fully trained
    weights; None: the model is trained fully before, for as many steps. budget_bytes: the rate weight follows what is
    over it. Raises UpdateError if the budget cannot be met.
    """
    stream = iter(batches)
    model.requires_grad_(True)  # as loaded, a network may be one that only runs
    old = {name: _array(one) for name, one in base.items()}
    if target is None:
        _start_at(model, {name: torch.from_numpy(one.astype(np.float32)) for name, one in old.items()})
        _tune(model, loss, stream, settings)
        target = {name: one.detach().clone() for name, one in model.state_dict().items()}
    training = _Training(model, old, target, loss, stream, rate_weight, settings, budget_bytes)
    training.run(progress)
    return training.finish()


class _Training:
    """The loop and what it holds."""

    def __init__(
        self,
        model: nn.Module,
        old: dict[str, NDArray[Any]],
        target: State,
        loss: Loss,
        batches: Iterator[Any],
        rate_weight: float,
        settings: UpdateSettings,
        budget_bytes: int | None,
    ) -> None:
        self.model, self.old, self.loss, self.batches = model, old, loss, batches
        self.settings, self.rate_weight, self.budget_bytes = settings, rate_weight, budget_bytes
        goal = {name: torch.as_tensor(one).float() for name, one in target.items()}
        _start_at(model, goal)
        differences = {
            name: goal[name] - torch.from_numpy(self.old[name].astype(np.float32))
            for name, _ in model.named_parameters()
            if name in self.old and goal[name].shape == self.old[name].shape
        }
        news = {name: goal[name] for name, _ in model.named_parameters() if name not in differences}
        sharpness = curvatures(model, loss, batches, {**differences, **news}, settings.seed)
        self._differences, self._news, self._sharpness = differences, news, sharpness
        if budget_bytes is not None:
            self.rate_weight = self._fitting_weight(budget_bytes)
        self.changing, self.whole = self._beginning(self.rate_weight)
        self.overhead_bits = 0.0
        _parametrise(model, {**self.changing, **self.whole})
        self._moving = [(change, tensor.base) for tensor in self._all() for change in tensor.ways]
        groups: list[dict[str, Any]] = [{"params": list(change.latents)} for change, _ in self._moving]
        steps = {"params": [change.step_code for change, _ in self._moving]}
        self.optimiser = torch.optim.Adam([*groups, steps], lr=settings.learning_rate, betas=(0.9, 0.99))

    def _beginning(self, rate_weight: float) -> tuple[dict[str, ChangingTensor], dict[str, ChangingTensor]]:
        """Return how tensors begin to change, and those that are sent whole, for what a kilobyte is worth."""
        settings, bit_weight = self.settings, rate_weight / BITS_A_KILOBYTE
        changing = {}
        for name, difference in self._differences.items():
            base, price = torch.from_numpy(self.old[name].astype(np.float32)), Price(self._sharpness[name], bit_weight)
            seed = seed_of(settings.seed, name)
            changes = changes_from(base, difference, price, settings.families, settings.rank, seed)
            changing[name] = ChangingTensor(base, changes)
        prices = {name: Price(self._sharpness[name], bit_weight) for name in self._news}
        whole = {
            name: ChangingTensor(torch.zeros_like(one), [_whole(one, prices[name])]) for name, one in self._news.items()
        }
        return changing, whole

    @torch.no_grad()
    def _fitting_weight(self, budget_bytes: int) -> float:
        """Return what a kilobyte has to be worth so that the training begins somewhat above the budget."""
        low, high = (math.log(self.rate_weight * factor) for factor in (1e-6, 1e6))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            self.changing, self.whole = self._beginning(math.exp(middle))
            is_over = float(self.bits()) > 8 * START_OVER * budget_bytes
            low, high = (middle, high) if is_over else (low, middle)
        return math.exp(high)

    def _all(self) -> list[ChangingTensor]:
        return [*self.changing.values(), *self.whole.values()]

    def bits(self) -> Tensor:
        """Return about how many bits the update takes, with a gradient."""
        parts = [change.bits() for tensor in self._all() for change in tensor.ways]
        return torch.stack(parts).sum() if parts else torch.zeros(())

    def run(self, progress: Progress | None) -> None:
        """Take all steps."""
        steps = self.settings.steps
        for step in range(steps):
            self._step(step / steps, progress, step + 1, steps)
        for further in range(MOST_FURTHER):
            if self.budget_bytes is None or len(self.pack()) <= self.budget_bytes:
                return
            count = max(1, round(FURTHER_SHARE * steps))
            self._set_price(self.rate_weight * FURTHER_PRICE)
            for step in range(count):
                self._step(FURTHER_FROM, progress, steps + further * count + step + 1, steps + (further + 1) * count)
        if self.budget_bytes is not None and len(self.pack()) > self.budget_bytes:
            raise UpdateError(f"{self.budget_bytes} bytes are too few: {len(self.pack())} are needed")

    def _step(self, done: float, progress: Progress | None, step: int, steps: int) -> None:
        self._set_rates(learning_rate(done, WARM_UP))
        with parametrize.cached():
            loss = self.loss(self.model, next(self.batches))
        bits = self.bits()
        taken = float(bits.detach())
        self.optimiser.zero_grad(set_to_none=True)
        total = loss + self.rate_weight / BITS_A_KILOBYTE * bits
        if total.requires_grad and bool(torch.isfinite(total)):
            total.backward()
            self.optimiser.step()
        if self.budget_bytes is not None:
            if step % CALIBRATE_EVERY == 1:
                self.overhead_bits = 8.0 * len(self.pack()) - taken
            self._follow_budget(taken + self.overhead_bits, done)
        if progress is not None:
            progress(step, steps, float(loss.detach()), (taken + self.overhead_bits) / 8)

    def _set_rates(self, factor: float) -> None:
        """Let weights move at one pace. In symbols alone, the finer their steps, the less an update would learn."""
        *of_latents, of_steps = self.optimiser.param_groups
        slowest, pace = self.settings.learning_rate, self.settings.pace
        for group, (change, base) in zip(of_latents, self._moving, strict=True):
            group["lr"] = factor * min(FASTEST, max(slowest, pace / max(change.reach(base), 1e-9)))
        of_steps["lr"] = factor * slowest

    def _follow_budget(self, bits: float, done: float) -> None:
        assert self.budget_bytes is not None
        over = math.log(max(bits, 1.0) / (8 * AIM * self.budget_bytes))
        gain = min(MOST_PRICE_GAIN, PRICE_GAIN / self.settings.steps)
        if done >= PATIENT and (over > 0 or done < SETTLED):
            self._set_price(self.rate_weight * math.exp(gain * max(-1.0, min(1.0, over))))

    def _set_price(self, rate_weight: float) -> None:
        """Make a kilobyte worth something else: the best steps grow with its square root (`start.Price`)."""
        octaves = math.log2(rate_weight / self.rate_weight) / 2
        self.rate_weight = rate_weight
        for tensor in self._all():
            for one in tensor.ways:
                one.coarsen(octaves)

    def update(self) -> WeightUpdate:
        """Return the update as it is now."""
        changes = {}
        for name, tensor in self.changing.items():
            found = {one.family: change for one in tensor.ways if (change := one.change()) is not None}
            if found:
                changes[name] = TensorChange(found)
        whole = {name: _sent(tensor) for name, tensor in self.whole.items()}
        stays = {*self.changing, *whole, *self.model.state_dict()}
        dropped = sorted(name for name, one in self.old.items() if one.dtype in DTYPES and name not in stays)
        return WeightUpdate(changes, whole, tuple(dropped), self.settings.seed)

    def pack(self) -> bytes:
        """Return the update as it is now, as bytes."""
        return pack_weights(self.update(), self.old)

    def finish(self) -> TrainedUpdate:
        """Return the update, and give the model its weights for good."""
        update = self.update()
        data = pack_weights(update, self.old)
        names = [*self.changing, *self.whole]
        weights = {**{k: v for k, v in self.old.items() if k not in update.dropped}}
        weights |= {name: updated(update, name, self.old.get(name)) for name in names}
        _unparametrise(self.model, names)
        _start_at(self.model, {name: torch.from_numpy(weights[name].astype(np.float32)) for name in names})
        return TrainedUpdate(data, weights, self.rate_weight)


def _whole(values: Tensor, price: Price) -> Changing:
    step = min(price.step, float(values.abs().max().clamp(min=1e-6)) / 3)
    return Changing(DENSE, values.shape, step_code(step), [(values / step).reshape(-1)], 0)


def _sent(tensor: ChangingTensor) -> WholeTensor:
    shape = tuple(tensor.base.shape)
    change = tensor.ways[0].change()
    layout = Layout(np.dtype(np.float16), shape)
    if change is None:
        return WholeTensor(layout, 0, np.zeros(math.prod(shape), np.int16))
    return WholeTensor(layout, change.step_code, change.parts[0])


def _array(one: Any) -> NDArray[Any]:
    return one.detach().cpu().numpy() if isinstance(one, Tensor) else np.asarray(one)


@torch.no_grad()
def _start_at(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    for name, value in weights.items():
        if name in own and own[name].shape == value.shape:
            own[name].copy_(value)


def _tune(model: nn.Module, loss: Loss, batches: Iterator[Any], settings: UpdateSettings) -> None:
    """Train all weights of a model."""
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.tuning_rate)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.tuning_rate * learning_rate(step / settings.steps, WARM_UP)
        optimiser.zero_grad(set_to_none=True)
        value = loss(model, next(batches))
        if bool(torch.isfinite(value)):
            value.backward()
            optimiser.step()


def _parametrise(model: nn.Module, tensors: Mapping[str, ChangingTensor]) -> None:
    for name, tensor in tensors.items():
        owner, _, attribute = name.rpartition(".")
        parametrize.register_parametrization(model.get_submodule(owner), attribute, tensor, unsafe=True)
        model.get_parameter(f"{owner}.parametrizations.{attribute}.original".lstrip(".")).requires_grad_(False)


def _unparametrise(model: nn.Module, names: Iterable[str]) -> None:
    for name in names:
        owner, _, attribute = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(owner), attribute, leave_parametrized=False)
