"""One of several processes that distil one student together, as test_together starts them by torchrun."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.support.tiny_student import SQUARE, front_spec, make_teacher, random_images
from training.distillation.recipe import FRONT
from training.distillation.task import Distillation, DistillConfig
from training.loop.moving_average import average_state
from training.loop.processes import ALONE, Processes, joined

# One quality and no price: nothing is drawn that counts. What is trained together begins half-way.
RECIPE = replace(FRONT, prices=(0.0,), joint_from=0.5)
SPEC = replace(front_spec(), qualities=1)
PROGRESS = (0.25, 0.25, 0.75, 0.75)


def batch(step: int) -> np.ndarray:
    """Return the images of a step, of all processes together."""
    return random_images(4, seed=step)


def make(processes: Processes = ALONE) -> Distillation:
    """Return a distillation; every process but the first begins with weights of its own, which must not count."""
    config = DistillConfig(SQUARE, RECIPE, seed=processes.rank, precision="single")
    return Distillation(config, SPEC, make_teacher(), processes=processes)


def weights_of(task: Distillation) -> dict[str, Tensor]:
    """Return the student's weights and their average, by name."""
    averages = {f"average {name}": value for name, value in average_state(task.average)["average"].items()}
    return {**task.student.state_dict(), **averages}


def main(folder: Path) -> None:
    """Train, and write the weights to RANK.pt in a folder."""
    torch.set_num_threads(1)
    with joined("cpu") as processes:
        task = make(processes)
        for step, progress in enumerate(PROGRESS):
            task.train(batch(step)[processes.rank :: processes.count], progress)
        torch.save(weights_of(task), folder / f"{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
