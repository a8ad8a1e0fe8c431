"""The accuracy of a group with parts lost, and by what they are filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from splitnet.groups.filling import Filling
from training.groups.imputer import ImputerNetwork

Fill = Callable[[Tensor, Tensor], Tensor]  # features (N, C) and which channels came (C,) to features


@dataclass(frozen=True)
class LossAccuracy:
    """Accuracy, in %, with so many parts lost: over all sets of them, and of the worst set."""

    lost: int
    mean: float
    worst: float
    of_sets: Mapping[tuple[int, ...], float]  # by the parts lost, from 1


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images whose likeliest class is theirs, in %."""
    return 100 * float((logits.argmax(1) == labels).float().mean())


@torch.inference_mode()
def lost_parts(
    features: Tensor, labels: Tensor, channels: Sequence[Sequence[int]], dense: nn.Module, fill: Fill
) -> list[LossAccuracy]:
    """Return the accuracy for each number of parts lost, from none to all but one. features: (N, C), as received."""
    found = []
    for lost in range(len(channels)):
        of_sets = {}
        for gone in combinations(range(len(channels)), lost):
            came = torch.ones(features.shape[1], dtype=torch.bool)
            for part in gone:
                came[list(channels[part])] = False
            filled = features if lost == 0 else fill(features, came)
            of_sets[tuple(part + 1 for part in gone)] = accuracy_of(dense(filled), labels)
        values = list(of_sets.values())
        found.append(LossAccuracy(lost, sum(values) / len(values), min(values), of_sets))
    return found


def by_mean(mean: Tensor) -> Fill:
    """Return what fills lost channels with their mean."""
    return lambda features, came: torch.where(came, features, mean)


def by_closed_form(filling: Filling) -> Fill:
    """Return what fills lost channels with their expected values, as the server does it."""
    return lambda features, came: filling.fill(features.T[:, :, None], came)[:, :, 0].T


def by_network(imputer: ImputerNetwork) -> Fill:
    """Return what fills lost channels by a network."""

    def fill(features: Tensor, came: Tensor) -> Tensor:
        kept = torch.stack([came[own[0]] for own in map(list, imputer.channels)])
        return imputer(features, kept.expand(len(features), -1))  # type: ignore[no-any-return]

    return fill
