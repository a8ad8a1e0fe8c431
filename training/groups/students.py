"""The training of students: a group whose parts make the teacher's features, or classifiers each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.groups.part_kinds import PooledConvSpec
from training.groups.partition import Parts
from training.groups.pooled_part import TrainedPooledConv
from training.groups.targets import CPU, StudentBatch
from training.groups.teacher import HEAD_SCALE
from training.loop.optimise import apply_gradients, set_learning_rate
from training.loop.precision import is_mixed, mixed_precision
from training.loop.schedule import learning_rate

TEMPERATURE, DISTILLED_SHARE = 4.0, 0.9  # published: Bhardwaj et al. 2019
# Of the squared difference of pooled features. Published: 10,000, of its mean over maps of about 48 x 8 x 8 values.
FEATURE_WEIGHT = 3.0
RATE, WARM_UP = 6e-3, 0.1
MAX_NORM = 100.0


@dataclass(frozen=True)
class StudentsConfig:
    """Settings of a step. part_dropout: how often each part is taken away."""

    steps: int
    part_dropout: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError on settings that no training has."""
        if not 0 <= self.part_dropout < 1:
            raise ConfigError("--part-dropout is from 0 to below 1")
        if self.steps < 1:
            raise ConfigError("a training has at least one step")


class Group(nn.Module):
    """Parts of a teacher's features, each by its own network, and the dense layer of the server."""

    def __init__(self, specs: Sequence[PooledConvSpec], parts: Parts, classes: int) -> None:
        super().__init__()
        self.parts = parts
        self.networks = nn.ModuleList(TrainedPooledConv(spec) for spec in specs)
        self.dense = nn.Linear(sum(map(len, parts)), classes)

    @property
    def positions(self) -> list[list[int]]:
        """Where the channels of each part lie side by side."""
        ends = list(accumulate(map(len, self.parts)))
        return [list(range(end - len(part), end)) for part, end in zip(self.parts, ends, strict=True)]

    def features(self, images: Tensor) -> list[Tensor]:
        """Return each part (N, C) of images (N, 3, S, S)."""
        return [network(images) for network in self.networks]

    @torch.no_grad()
    def start_from_head(self, head: Tensor) -> None:
        """Begin with the teacher's own last layer (classes, filters)."""
        order = [filter_ for part in self.parts for filter_ in part]
        self.dense.weight.copy_(head[:, order] * HEAD_SCALE)
        self.dense.bias.zero_()


def kept_parts(count: int, parts: int, dropout: float, generator: torch.Generator) -> Tensor:
    """Return which parts each of some images has, (count, parts) bool; every image has one at least."""
    kept = torch.rand(count, parts, generator=generator) >= dropout
    spared = torch.randint(0, parts, (count,), generator=generator)
    kept[torch.arange(count), spared] |= ~kept.any(1)
    return kept


def with_dropout(features: Sequence[Tensor], kept: Tensor) -> Tensor:
    """Return the parts (N, C) side by side; the mean of the batch stands for those that an image has not."""
    rows = [torch.where(kept[:, i, None], one, one.detach().mean(0)) for i, one in enumerate(features)]
    return torch.cat(rows, 1)


def distillation_loss(logits: Tensor, batch: StudentBatch) -> Tensor:
    """Return the published loss: at a temperature towards the teacher, and a little towards the labels."""
    soft = F.log_softmax(batch.logits / TEMPERATURE, 1)
    towards = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), soft, reduction="batchmean", log_target=True)
    labels = F.cross_entropy(logits, batch.labels)
    return DISTILLED_SHARE * TEMPERATURE**2 * towards + (1 - DISTILLED_SHARE) * labels


def feature_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared difference of features (N, C), each image's of length one: the mean over images."""
    return (F.normalize(found, dim=1) - F.normalize(wanted, dim=1)).square().sum(1).mean()


class _Task:
    """The common part of a `run.Task`."""

    def __init__(self, module: nn.Module, config: StudentsConfig) -> None:
        self.module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        groups: list[dict[str, Any]] = [{"params": [p for p in module.parameters() if p.requires_grad], "peak": RATE}]
        self.optimiser = torch.optim.AdamW(groups, lr=RATE, weight_decay=0.0)

    def train(self, batch: StudentBatch, progress: float) -> dict[str, list[float]]:
        """Do one step; returns the loss."""
        self.module.train()
        set_learning_rate(self.optimiser, learning_rate(progress, WARM_UP))
        loss = self.loss(batch)
        apply_gradients(loss, self.module, self.optimiser, max_norm=MAX_NORM)
        return {"loss": [loss.item()]}

    def loss(self, batch: StudentBatch) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on."""
        entries = {"module": self.module.state_dict(), "optimiser": self.optimiser.state_dict()}
        return {**entries, "generator": self.generator.get_state()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from such a state; ConfigError if it is of other networks."""
        try:
            self.module.load_state_dict(state["module"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.generator.set_state(state["generator"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ConfigError("the checkpoint is of other networks: give another --run") from error


class GroupTask(_Task):
    """Trains a `Group`, with parts taken away at random."""

    def __init__(self, group: Group, config: StudentsConfig) -> None:
        super().__init__(group, config)
        self.group = group

    def loss(self, batch: StudentBatch) -> Tensor:
        """Return the distillation's loss of the joined parts, and the features' of each part."""
        with mixed_precision(CPU, is_mixed("auto", CPU)):
            features = [one.float() for one in self.group.features(_channels_last(batch.images))]
        kept = kept_parts(len(batch.labels), len(features), self.config.part_dropout, self.generator)
        total = distillation_loss(self.group.dense(with_dropout(features, kept)), batch)
        for one, part in zip(features, self.group.parts, strict=True):
            total = total + FEATURE_WEIGHT * feature_loss(one, batch.features[:, list(part)])
        return total


class Classifiers(nn.Module):
    """Networks that each classify on their own; together an ensemble, by the mean of their probabilities."""

    def __init__(self, specs: Sequence[PooledConvSpec], classes: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(TrainedPooledConv(spec) for spec in specs)
        self.heads = nn.ModuleList(nn.Linear(spec.channels, classes) for spec in specs)

    def logits(self, images: Tensor) -> list[Tensor]:
        """Return each one's logits (N, classes)."""
        pairs = zip(self.networks, self.heads, strict=True)
        return [head(F.relu(network(images))) for network, head in pairs]


class ClassifiersTask(_Task):
    """Trains `Classifiers`, each by the same distillation, independently of the others."""

    def __init__(self, classifiers: Classifiers, config: StudentsConfig) -> None:
        super().__init__(classifiers, config)
        self.classifiers = classifiers

    def loss(self, batch: StudentBatch) -> Tensor:
        """Return the sum of what each loses."""
        with mixed_precision(CPU, is_mixed("auto", CPU)):
            logits = self.classifiers.logits(_channels_last(batch.images))
        return torch.stack([distillation_loss(one.float(), batch) for one in logits]).sum()


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
