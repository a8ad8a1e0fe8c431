"""`python -m benchmarks update`: what a changed model takes to send, by every known way, and what it is worth then."""

from __future__ import annotations

import json
import logging
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.bootstrap import interval
from benchmarks.harness.drawing import require_matplotlib
from benchmarks.updates import own_update, post_hoc, trained_rivals
from benchmarks.updates.judging import Judge, Verdict
from benchmarks.updates.row_file import RowFile
from benchmarks.updates.study import Method, Study
from benchmarks.updates.tasks import SOURCES, PoolSpec, Task, load_task
from benchmarks.updates.training_loop import Target, fully_trained
from benchmarks.updates.update_figures import best_rows, budgets, comparisons
from benchmarks.updates.update_plot import draw
from splitnet.atomic_write import write_json
from splitnet.errors import ConfigError

METHODS: Mapping[str, Method] = {
    method.name: method for room in (post_hoc, own_update, trained_rivals) for method in room.METHODS
}
NOTHING, EVERYTHING = "nothing sent", "fully trained"
SETTINGS = ("steps", "full_steps", "batch_size", "batches", "square", "limit")  # rows of others do not compare
PARTS = ("weights", "contributions", "last_steps")
log = logging.getLogger(__name__)


def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--data", type=Path, required=True, metavar="DIR", help="a folder for each task: train.json, valid.json, images"
    )
    usual = ("bccd", "debris", "highway", "night")
    tasks = f"of {', '.join(SOURCES)} (default: {' '.join(usual)})"
    add("--tasks", nargs="+", choices=tuple(SOURCES), default=usual, metavar="TASK", help=tasks)
    methods = f"of {', '.join(METHODS)} (default: all)"
    add("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS), metavar="METHOD", help=methods)
    add("--seeds", nargs="+", type=int, default=(0,), metavar="N", help="of order, draws and factors (%(default)s)")
    add("--steps", type=int, default=150, metavar="N", help="of each training of what is sent (%(default)s)")
    add("--full-steps", type=int, default=500, metavar="N", help="of the full training (%(default)s)")
    add("--batch-size", type=int, default=8, metavar="N", help="images a step (%(default)s)")
    add("--batches", type=int, default=64, metavar="N", help="decoded once and used in turn (%(default)s)")
    add("--square", type=int, default=224, metavar="PIXELS", help="side of what the detector sees (%(default)s)")
    add("--limit", type=int, default=96, metavar="N", help="images that are held out (%(default)s)")
    add("--work", type=Path, metavar="DIR", help="measured rows and full trainings, to go on from (beside --out)")


def _run(options: Namespace) -> dict[str, object]:
    if options.out is not None:
        require_matplotlib()
    if options.work is None and options.out is None:
        raise ConfigError("say --out or --work: a run of hours needs a place for what it has finished")
    work = options.work or options.out.with_name(f"{options.out.name}.work")
    torch.set_num_threads(1)
    _check(options, work)
    file = RowFile(work / "rows.jsonl")
    for seed in options.seeds:
        for name in options.tasks:
            _measure_task(options, work, file, name, seed)
    record = _record(options, file.rows)
    if options.out is not None:
        draw(options.out, record)
    return record


def _check(options: Namespace, work: Path) -> None:
    """Raise ConfigError on settings that say nothing, or others than those that this place was begun with."""
    PoolSpec(options.square, options.batches, options.batch_size, options.limit)
    if min(options.steps, options.full_steps) < 1 or min(options.seeds) < 0:
        raise ConfigError("--steps and --full-steps must be at least 1, --seeds at least 0")
    settings, path = {name: getattr(options, name) for name in SETTINGS}, work / "settings.json"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
    elif json.loads(path.read_text("utf-8")) != settings:
        raise ConfigError(f"{path} has other settings, and rows of both would be mixed: give another --work")


def _measure_task(options: Namespace, work: Path, file: RowFile, name: str, seed: int) -> None:
    """Measure what is missing of a task."""
    chosen = [METHODS[one] for one in options.methods]
    missing = [(m, v) for m in chosen for v in m.variants if not file.has((name, m.name, seed, str(v)))]
    if not missing:
        return
    spec = PoolSpec(options.square, options.batches, options.batch_size, options.limit)
    task = load_task(name, options.data, spec, seed)
    target = _target(work / f"{name}-{seed}.safetensors", task, options.full_steps)
    judge = Judge(task, target.weights)
    made = f"{options.full_steps} steps" if target.is_traced else f"that of bundles/{SOURCES[name].trained}"
    ends = _ends(file, task, target, judge, seed, made)
    study = Study(task, target, options.steps, seed)
    for method, variant in missing:
        if method.reads_trace and not target.is_traced:
            log.warning("%s: %s needs a full training of its own, this task's was made elsewhere", name, method.name)
            continue
        began = time.perf_counter()
        points = list(method.run(study, variant))
        rows = [
            _row((name, method.name, seed, str(variant)), p.setting, p.bytes, judge.verdict(p.weights), ends)
            for p in points
        ]
        file.add(rows)
        told = ", ".join(f"{row['bytes']:,} B {row['fidelity']:.1f} %" for row in rows)
        log.warning("%s %s %s: %s (%.0f s)", name, method.name, variant, told, time.perf_counter() - began)


def _target(path: Path, task: Task, steps: int) -> Target:
    """Return the full training's result: the project's own, or from a file of before, or trained now."""
    if task.trained is not None:
        return Target(task.trained, {}, {})
    if path.exists():
        stored = load_file(path)
        parts = [
            {name.removeprefix(f"{part}:"): value for name, value in stored.items() if name.startswith(f"{part}:")}
            for part in PARTS
        ]
        return Target(*parts)
    target = fully_trained(task, steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{part}:{n}": value.contiguous() for part in PARTS for n, value in getattr(target, part).items()}
    save_file(tensors, path)
    return target


def _ends(file: RowFile, task: Task, target: Target, judge: Judge, seed: int, made: str) -> tuple[float, float]:
    """Return AP on the labels before and after the full training, and keep both as rows."""
    verdicts = {NOTHING: judge.verdict(task.start), EVERYTHING: judge.verdict(target.weights)}
    ends = float(verdicts[NOTHING].ap[0]), float(verdicts[EVERYTHING].ap[0])
    for name, verdict in verdicts.items():
        if not file.has((task.name, name, seed, "")):
            size = 0 if name == NOTHING else 2 * sum(value.numel() for value in target.weights.values())
            row = _row((task.name, name, seed, ""), "", size, verdict, ends)
            file.add([{**row, "boxes": judge.objects, "images": len(task.held_out.images), "full_training": made}])
    return ends


def _row(
    key: tuple[str, str, int, str], setting: str, size: int, verdict: Verdict, ends: tuple[float, float]
) -> dict[str, Any]:
    task, method, seed, variant = key
    low, high = interval(verdict.fidelity)
    ap, (before, after) = float(verdict.ap[0]), ends
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "variant": variant,
        "setting": setting,
        "bytes": size,
        "fidelity": round(float(verdict.fidelity[0]), 2),
        "fidelity_low": None if low is None else round(low, 2),
        "fidelity_high": None if high is None else round(high, 2),
        "fidelity_50": round(float(verdict.fidelity_50[0]), 2),
        "ap": round(ap, 2),
        "ap_50": round(float(verdict.ap_50[0]), 2),
        "gain_share": round((ap - before) / (after - before), 4) if after > before else None,
        "resampled": [round(value, 2) for value in verdict.fidelity.tolist()],
        "resampled_50": [round(value, 2) for value in verdict.fidelity_50.tolist()],
    }


def _record(options: Namespace, rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    ends = [row for row in rows if row["method"] in (NOTHING, EVERYTHING)]
    sent = [row for row in rows if row["method"] in METHODS]
    coarse = [{**row, "fidelity": row["fidelity_50"], "resampled": row["resampled_50"]} for row in sent]
    return {
        "settings": {name: getattr(options, name) for name in SETTINGS},
        "ends": list(_plain(ends)),
        "rows": list(_plain(sent)),
        "best": best_rows(sent),
        "best_50": best_rows(coarse),
        "comparisons": comparisons(sent, own_update.NAME),
        "comparisons_50": comparisons(coarse, own_update.NAME),
        "budgets": budgets(sent, own_update.NAME),
    }


def _plain(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows without their resamples, which are many numbers."""
    for row in rows:
        yield {name: value for name, value in row.items() if not name.startswith("resampled") and name != "variant"}


BENCHMARK = Benchmark("update", "what a changed model takes to send, by every known way", _arguments, _run)
