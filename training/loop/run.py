"""The loop around any training: steps, progress, journal, checkpoints that survive an interruption."""

from __future__ import annotations

import io
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError
from splitnet.extras import progress_bar

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"
JOURNAL = "journal.jsonl"

B = TypeVar("B")
B_contra = TypeVar("B_contra", contravariant=True)
Check = Callable[[int], Mapping[str, float]]  # takes the step, returns figures for the journal


class Task(Protocol[B_contra]):
    """What is trained, on batches of some kind: crops (N, h, w, 3) uint8, or labelled images."""

    def train(self, batch: B_contra, progress: float) -> dict[str, list[float]]:
        """Do one step; progress 0..1. Returns figures to average in the journal."""

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on, as plain values and tensors."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from such a state; ConfigError if it is of another kind."""


class Run(Generic[B]):
    """One training in one folder: a journal (a JSON line every few steps) and the last checkpoint.

    After an interruption, the steps since that checkpoint are taken again, and appear in the journal again.
    """

    def __init__(
        self,
        task: Task[B],
        folder: Path,
        steps: int,
        journal_every: int = 50,
        save_every: int = 250,
        is_writer: bool = True,
        observe: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> None:
        """Make the folder; ConfigError if that cannot be.

        is_writer: of several processes that train together, one writes. observe: told of all that the journal is.
        """
        self.task, self.folder, self.steps = task, folder, steps
        self.journal_every, self.save_every = journal_every, save_every
        self.is_writer, self.observe = is_writer, observe
        self.step = 0
        self._figures: dict[str, list[float]] = defaultdict(list)
        with writing_to(folder):
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
        self.skip(progress)

    def skip(self, progress: float) -> None:
        """Count a share of the schedule as done."""
        self.step = round(progress * self.steps)

    def go(self, stream: Iterable[B], check: Check | None = None, check_every: int = 1000) -> None:
        """Train to the last step. ConfigError if the folder cannot be written; the last checkpoint stays.

        check: called every so many steps and after the last, by the process that writes.
        """
        batches = iter(stream)
        silent = not self.is_writer
        with progress_bar(total=self.steps, initial=self.step, unit="step", smoothing=0.05, disable=silent) as bar:
            while self.step < self.steps:
                self._advance(batches)
                bar.update()
                is_last = self.step == self.steps
                if is_last or self.step % self.journal_every == 0:
                    bar.set_postfix_str(self._note())
                if not self.is_writer:
                    continue
                is_checked = check is not None and (is_last or self.step % check_every == 0)
                if is_checked or is_last or self.step % self.save_every == 0:
                    self._save()  # first: whatever a check ends by, no step is lost
                if check is not None and is_checked:
                    self._write(check(self.step))

    def look(self, check: Check) -> None:
        """Check now: what there is before the first step."""
        self._write(check(self.step))

    def _advance(self, batches: Iterator[B]) -> None:
        for name, values in self.task.train(next(batches), self.step / self.steps).items():
            self._figures[name] += values
        self.step += 1

    def _note(self) -> str:
        """Write the figures since the last note to the journal; returns them in short."""
        means = {name: sum(values) / len(values) for name, values in sorted(self._figures.items()) if values}
        self._figures.clear()
        self._write(means)
        return " ".join(f"{name} {mean:.3g}" for name, mean in means.items())

    def _write(self, figures: Mapping[str, float]) -> None:
        if self.is_writer and figures:
            record = {"step": self.step, "time": time.time(), **figures}
            with writing_to(self.folder), (self.folder / JOURNAL).open("a") as journal:
                journal.write(json.dumps(record) + "\n")
            if self.observe is not None:
                self.observe(self.step, figures)

    def _save(self) -> None:
        """Write a checkpoint; the previous one stays until this one is whole."""
        content = io.BytesIO()  # torch's own writer hides the reason if the disk is full
        torch.save({"step": self.step, **self.task.state()}, content)
        with writing_to(self.folder):
            write_atomically(self.folder / CHECKPOINT, content.getbuffer())


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an OSError inside into a ConfigError that says what to do."""
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
