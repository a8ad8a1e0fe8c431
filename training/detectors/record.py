"""The record of a detector's training, as one JSON: every evaluation, the start's included, and what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from splitnet.atomic_write import write_json
from splitnet.environment import environment
from training.detectors.detector_file import DetectorNote
from training.loop.run import JOURNAL, writing_to


def write_record(out: Path, run: Path, note: DetectorNote) -> None:
    """Write the record of a run that has ended. ConfigError if it cannot be written."""
    record = {**asdict(note), "evaluations": evaluations(run), **environment()}
    with writing_to(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, record)


def evaluations(run: Path) -> list[dict[str, float]]:
    """Return step, AP and AP50 (percent) of every evaluation in a run's journal, those of step 0 and the last included.

    Steps that were taken twice, after an interruption, count once: as they were the last time.
    """
    records = [json.loads(line) for line in (run / JOURNAL).read_text().splitlines()]
    found = {r["step"]: {name: r[name] for name in ("step", "ap", "ap50")} for r in records if "ap" in r}
    return [found[step] for step in sorted(found)]
