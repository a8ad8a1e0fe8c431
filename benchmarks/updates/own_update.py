"""The update of this project (`training.updates`): what is sent is trained, its bytes are part of the loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.updates.study import Method, Point, Study
from benchmarks.updates.training_loop import endless, guided_loss
from training.updates.make import UpdateSettings, make_update

NAME = "SlimSplit"
BUDGETS_KB = (9, 18, 36, 72, 120)
RATE_WEIGHT = 0.05  # where the search for each budget's own begins


def budgeted(study: Study, budget_kb: int) -> Iterator[Point]:
    """The update that is trained to fit in so many kilobytes."""
    network = study.task.network
    for parameter in network.parameters():
        parameter.grad = None
    base = {name: value.half() for name, value in study.task.base.items()}
    made = make_update(
        network,
        base,
        guided_loss,
        endless(study.batches),
        RATE_WEIGHT,
        UpdateSettings(steps=study.steps, seed=study.seed),
        target=study.target.weights,
        budget_bytes=1000 * budget_kb,
    )
    weights = {name: torch.from_numpy(value).float() for name, value in made.weights.items()}
    yield Point(f"{budget_kb} KB", len(made.data), weights)


METHODS = (Method(NAME, BUDGETS_KB, budgeted),)
