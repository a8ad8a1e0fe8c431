"""One step of a detector's training, and everything needed to take the next one after an interruption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.blocks import place
from training.data.labelled_stream import LabelledBatch
from training.detectors.family import DetectorFamily
from training.loop.moving_average import average_state, load_average, moving_average
from training.loop.optimise import apply_gradients, set_learning_rate
from training.loop.precision import is_mixed, mixed_precision
from training.loop.processes import ALONE, Processes
from training.loop.schedule import learning_rate

# Gradients of a network that knows nothing are large; only wild ones are to be cut.
MAX_GRADIENT_NORM = 35.0
SGD_RATE = 0.01 / 64  # per image of a batch; momentum and decay too are those of YOLOX's paper
SGD_DECAY, SGD_MOMENTUM = 5e-4, 0.9
ADAM_RATE, ADAM_DECAY = 2e-4, 0.02
# Shares of the steps in which the rate rises. AdamW's first steps are as long as its later ones, whatever the gradient:
# at their full length they would take from a pretrained network more than they give.
SGD_WARM_UP, ADAM_WARM_UP = 0.02, 0.1
AVERAGED_SHARE = 0.05  # of the steps that the moving average looks back, at most MOST_AVERAGED
MOST_AVERAGED = 5000


@dataclass(frozen=True)
class DetectorConfig:
    """Settings of a step."""

    model: str
    steps: int
    batch_size: int = 8  # of all processes together
    optimiser: str = "adamw"  # or "sgd"
    rate: float | None = None  # peak learning rate; None: the optimiser's own
    plain_share: float = 0.15  # of the steps, at the end: whole images, and the loss that sharpens boxes
    device: str = "cpu"
    precision: str = "auto"  # one of precision.PRECISIONS

    def __post_init__(self) -> None:
        """Raise ConfigError on settings that no training has."""
        if self.optimiser not in ("sgd", "adamw"):
            raise ConfigError(f"unknown optimiser {self.optimiser!r}; choose sgd or adamw")
        if not 0 <= self.plain_share <= 1 or (self.rate is not None and not self.rate > 0):
            raise ConfigError("the share of plain steps is from 0 to 1, the learning rate above 0")

    @property
    def plain_from(self) -> int:
        """The step from which images come plain."""
        return self.steps - round(self.plain_share * self.steps)


class DetectorTraining:
    """A `run.Task`."""

    def __init__(
        self, config: DetectorConfig, family: DetectorFamily, network: nn.Module, processes: Processes = ALONE
    ) -> None:
        """Take a network ready to be trained; it is changed."""
        self.config, self.family = config, family
        self.processes, self.device = processes, processes.device(config.device)
        self.network = place(network, self.device)
        processes.agree(self.network)
        self.is_mixed = is_mixed(config.precision, self.device)
        self.optimiser = _optimiser(self.network, config)
        self.average = moving_average(self.network, average_decay(config.steps))

    def train(self, batch: LabelledBatch, progress: float) -> dict[str, list[float]]:
        """Do one step (`run.Task`)."""
        self.network.train()
        warm_up = SGD_WARM_UP if self.config.optimiser == "sgd" else ADAM_WARM_UP
        set_learning_rate(self.optimiser, learning_rate(progress, warm_up))
        is_late = round(progress * self.config.steps) >= self.config.plain_from
        losses = self._losses(batch, is_late)
        positives = losses.pop("positives")
        loss = torch.stack(list(losses.values())).sum()
        if apply_gradients(loss, self.network, self.optimiser, max_norm=MAX_GRADIENT_NORM, processes=self.processes):
            self.average.update_parameters(self.network)
        return {name: [value.item()] for name, value in {**losses, "loss": loss, "positives": positives}.items()}

    def _losses(self, batch: LabelledBatch, is_late: bool) -> dict[str, Tensor]:
        with mixed_precision(self.device, self.is_mixed):
            raw = self.network(self.family.inputs(batch.images, self.device))
        boxes = [torch.from_numpy(one).to(self.device) for one in batch.boxes]
        labels = [torch.from_numpy(one).to(self.device) for one in batch.labels]
        return self.family.losses(raw, boxes, labels, batch.images.shape[1], is_late)

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on (`run.Task`)."""
        return {
            "network": self.network.state_dict(),
            **average_state(self.average),
            "optimiser": self.optimiser.state_dict(),
            "model": self.config.model,
            "optimiser_name": self.config.optimiser,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state (`run.Task`)."""
        if "network" not in state or "model" not in state:
            raise ConfigError("the checkpoint is of another kind of training; give another --run")
        ours, theirs = (self.config.model, self.config.optimiser), (state["model"], state["optimiser_name"])
        if ours != theirs:
            raise ConfigError(
                f"the checkpoint trains {' with '.join(theirs)}, not {' with '.join(ours)}; give another --run"
            )
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ConfigError("the checkpoint has another number of classes; give another --run") from error
        load_average(self.average, state)
        peaks = [group["peak"] for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, peak in zip(self.optimiser.param_groups, peaks, strict=True):
            group["peak"] = peak  # of this run's settings

    def averaged(self) -> nn.Module:
        """Return the averaged network in evaluation mode, where it is trained."""
        network: nn.Module = self.average.module
        return network.eval()

    def result(self) -> nn.Module:
        """Return the averaged network as it will run, on the CPU."""
        return self.family.deployed(self.averaged())


def average_decay(steps: int) -> float:
    """Return what the moving average keeps of itself in a step of a training of so many."""
    looks_back = min(MOST_AVERAGED, max(1.0, AVERAGED_SHARE * steps))
    return 1 - 1 / looks_back


def _optimiser(network: nn.Module, config: DetectorConfig) -> torch.optim.Optimizer:
    """Return SGD as in the paper, for networks that know nothing, or AdamW, which adapts a known one in few steps.

    Biases and normalisation are not decayed.
    """
    parameters = list(network.parameters())
    is_sgd = config.optimiser == "sgd"
    rate = config.rate or (SGD_RATE * config.batch_size if is_sgd else ADAM_RATE)
    decay = SGD_DECAY if is_sgd else ADAM_DECAY
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "peak": rate, "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() <= 1], "peak": rate, "weight_decay": 0.0},
    ]
    if is_sgd:
        return torch.optim.SGD(groups, lr=rate, momentum=SGD_MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups, lr=rate)
