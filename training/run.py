"""The loop around any training: steps, progress, journal, checkpoints that survive an interruption."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from tqdm import tqdm

from splitnet.errors import ConfigError
from training.photographs import CropStream

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"


class Task(Protocol):
    """What is trained."""

    def train(self, batch: NDArray[Any], progress: float) -> dict[str, list[float]]:
        """Do one step on crops (N, h, w, 3) uint8; progress 0..1. Returns figures to average in the journal."""

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on, as plain values and tensors."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from such a state; ConfigError if it is of another kind."""


class Run:
    """One training in one folder."""

    def __init__(self, task: Task, folder: Path, steps: int, journal_every: int = 50, save_every: int = 250) -> None:
        self.task, self.folder, self.steps = task, folder, steps
        self.journal_every, self.save_every = journal_every, save_every
        self.step = 0
        self._figures: dict[str, list[float]] = defaultdict(list)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write to {folder}: {error}") from error

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if it has one."""
        path = self.folder / CHECKPOINT
        if path.exists():
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.task.load(state)
            self.step = state["step"]
            log.info("resumed %s at step %d of %d", path, self.step, self.steps)

    def go(self, stream: CropStream) -> None:
        """Train to the last step."""
        batches = iter(stream)
        with (
            (self.folder / "journal.jsonl").open("a") as journal,
            tqdm(total=self.steps, initial=self.step, unit="step", smoothing=0.05) as bar,
        ):
            while self.step < self.steps:
                self._advance(batches)
                bar.update()
                if self.step % self.journal_every == 0:
                    record = self._record()
                    journal.write(json.dumps(record) + "\n")
                    journal.flush()
                    bar.set_postfix_str(
                        " ".join(f"{k} {v:.3g}" for k, v in record.items() if k not in ("step", "time"))
                    )
                if self.step % self.save_every == 0 or self.step == self.steps:
                    self._save()

    def _advance(self, batches: Iterator[NDArray[Any]]) -> None:
        for name, values in self.task.train(next(batches), self.step / self.steps).items():
            self._figures[name] += values
        self.step += 1

    def _record(self) -> dict[str, float]:
        means = {name: sum(values) / len(values) for name, values in sorted(self._figures.items())}
        self._figures.clear()
        return {"step": self.step, "time": time.time(), **means}

    def _save(self) -> None:
        """Write a checkpoint; the previous one stays until this one is whole."""
        partial = self.folder / f"{CHECKPOINT}.partial"
        torch.save({"step": self.step, **self.task.state()}, partial)
        partial.replace(self.folder / CHECKPOINT)
