"""The loop around any training: steps, progress, journal, checkpoints that survive an interruption."""

from __future__ import annotations

import io
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from tqdm import tqdm

from splitnet.errors import ConfigError

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"
JOURNAL = "journal.jsonl"


class Task(Protocol):
    """What is trained."""

    def train(self, batch: NDArray[Any], progress: float) -> dict[str, list[float]]:
        """Do one step on crops (N, h, w, 3) uint8; progress 0..1. Returns figures to average in the journal."""

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on, as plain values and tensors."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from such a state; ConfigError if it is of another kind."""


class Run:
    """One training in one folder: a journal (a JSON line every few steps) and the last checkpoint.

    After an interruption, the steps since that checkpoint are taken again, and appear in the journal again.
    """

    def __init__(self, task: Task, folder: Path, steps: int, journal_every: int = 50, save_every: int = 250) -> None:
        """Make the folder; ConfigError if that cannot be."""
        self.task, self.folder, self.steps = task, folder, steps
        self.journal_every, self.save_every = journal_every, save_every
        self.step = 0
        self._figures: dict[str, list[float]] = defaultdict(list)
        with _writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> bool:
        """Go on from the folder's checkpoint, if it has one. ConfigError if it is not one of this training."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return False
        state = read_checkpoint(path)
        if state["step"] > self.steps:
            raise ConfigError(f"{path} is at step {state['step']} already: give more --steps, or another --run")
        self.task.load(state)
        self.step = state["step"]
        log.info("resumed %s at step %d of %d", path, self.step, self.steps)
        return True

    def start_from(self, folder: Path, progress: float) -> None:
        """Begin with another run's last checkpoint, and a share of the schedule done. ConfigError if it has none."""
        path = folder / CHECKPOINT
        if not path.is_file():
            raise ConfigError(f"{folder} has no {CHECKPOINT} to start from")
        # The moving average starts anew: over a few steps it would stay with the weights of the other run.
        self.task.load({**read_checkpoint(path), "updates": 0})
        self.step = round(progress * self.steps)

    def go(self, stream: Iterable[NDArray[Any]]) -> None:
        """Train to the last step. ConfigError if the folder cannot be written; the last checkpoint stays."""
        batches = iter(stream)
        with tqdm(total=self.steps, initial=self.step, unit="step", smoothing=0.05) as bar:
            while self.step < self.steps:
                self._advance(batches)
                bar.update()
                is_last = self.step == self.steps
                if is_last or self.step % self.journal_every == 0:
                    bar.set_postfix_str(self._note())
                if is_last or self.step % self.save_every == 0:
                    self._save()

    def _advance(self, batches: Iterator[NDArray[Any]]) -> None:
        for name, values in self.task.train(next(batches), self.step / self.steps).items():
            self._figures[name] += values
        self.step += 1

    def _note(self) -> str:
        """Write the figures since the last note to the journal; returns them in short."""
        means = {name: sum(values) / len(values) for name, values in sorted(self._figures.items()) if values}
        self._figures.clear()
        record = {"step": self.step, "time": time.time(), **means}
        with _writing_to(self.folder), (self.folder / JOURNAL).open("a") as journal:
            journal.write(json.dumps(record) + "\n")
        return " ".join(f"{name} {mean:.3g}" for name, mean in means.items())

    def _save(self) -> None:
        """Write a checkpoint; the previous one stays until this one is whole."""
        content = io.BytesIO()  # torch's own writer hides the reason if the disk is full
        torch.save({"step": self.step, **self.task.state()}, content)
        partial = self.folder / f"{CHECKPOINT}.partial"
        with _writing_to(self.folder):
            partial.write_bytes(content.getbuffer())
            partial.replace(self.folder / CHECKPOINT)


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot write to {folder}: {error}; then the same command goes on from the last checkpoint"
        raise ConfigError(message) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a run has saved: the task's state and "step". ConfigError if the file is nothing like it."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many kinds
        raise ConfigError(f"{path} is not a readable checkpoint; delete it to start anew") from error
    if not isinstance(state, dict) or not isinstance(state.get("step"), int):
        raise ConfigError(f"{path} is not a checkpoint of a run; give another --run")
    return state
