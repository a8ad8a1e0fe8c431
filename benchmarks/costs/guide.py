"""The time that docs/own-detector.md takes: its own commands, in its order, on a folder of labelled images.

The commands are read from the guide and run as they stand, in a folder that has what the guide begins with. On a
machine with other work, the processor's time says more than the clock's. On idle cores the clock comes to that, divided
by as many cores as a step can use.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.processes import PROJECT, child_process, last_line, server_process
from splitnet.bundle import load_device
from splitnet.errors import ConfigError

GUIDE = PROJECT / "docs" / "own-detector.md"
COMMANDS = ("convert", "detector", "distill", "evaluate")
BUNDLE = Path("bundles/mine")
DEADLINE_MS = 200.0
Row = dict[str, Any]


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--images", "--pictures", type=Path, required=True, metavar="DIR", help="labelled images")
    add("--labels", type=Path, required=True, metavar="DIR", help="their YOLO text files")
    add("--classes", type=Path, required=True, metavar="FILE", help="the classes, one a line")
    add("--work", type=Path, required=True, metavar="DIR", help="a new folder, in which the guide is followed")


def run(options: Namespace) -> dict[str, object]:
    """Follow the guide; returns a row for each step and what came of it. ConfigError if a step fails."""
    guide = GUIDE.read_text(encoding="utf-8")
    work = options.work.resolve()
    images = _lay_out(work, options)
    load = os.getloadavg()[0]
    steps = [timed(name, partial(_follow, guide, name, work)) for name in COMMANDS]
    steps.append(timed("serve", partial(_serve, work)))
    figures = json.loads((work / "figures.json").read_text(encoding="utf-8"))
    split = [point for point in figures["points"] if point["mode"] == "split"]
    best = max(split, key=lambda point: (point["ap"], -point["bytes_mean"]))
    return {
        "pictures": images,
        "evaluated": figures["images"],
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "minutes": round(sum(step["seconds"] for step in steps) / 60, 1),
        "cpu_minutes": round(sum(step["cpu_seconds"] for step in steps) / 60, 1),
        "unsplit_ap": figures["unsplit"]["ap"],
        "best": f"w{best['width']} q{best['quality']}",
        "best_ap": best["ap"],
        "best_bytes": best["bytes_mean"],
        "answered": _answered(work),
        "steps": steps,
    }


BENCHMARK = Benchmark("guide", "how long docs/own-detector.md takes on labelled images", _add_arguments, run)


def command_of(guide: str, name: str) -> list[str]:
    """Return the arguments of the guide's first `python -m training NAME`, the name included."""
    lines = guide.replace("\\\n", " ").splitlines()
    for line in lines:
        if line.startswith(f"python -m training {name} "):
            return shlex.split(line, comments=True)[3:]
    raise ConfigError(f"the guide has no command python -m training {name}")


def children_s() -> float:
    """Return the processor seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(
    name: str,
    action: Callable[[], None],
    clock: Callable[[], float] = time.perf_counter,
    processor_s: Callable[[], float] = children_s,
) -> Row:
    """Do a step; returns its seconds by the clock, and those of all processors in processes that ended in it."""
    start, before = clock(), processor_s()
    action()
    return {"step": name, "seconds": round(clock() - start, 1), "cpu_seconds": round(processor_s() - before, 1)}


def _lay_out(work: Path, options: Namespace) -> int:
    """Make the folder as the guide has it before the first step; returns how many images there are."""
    try:
        (work / "bundles").mkdir(parents=True)
        (work / "bundles" / "coco-nano").symlink_to(PROJECT / "bundles" / "coco-nano")
        (work / "pictures").symlink_to(options.images.resolve(strict=True))
        (work / "labels").symlink_to(options.labels.resolve(strict=True))
        shutil.copy(options.classes, work / "classes.txt")
    except OSError as error:
        raise ConfigError(
            f"the guide cannot begin in {work}: {error}; give a new folder, and inputs that exist"
        ) from error
    return sum(1 for _ in (work / "pictures").iterdir())


def _follow(guide: str, name: str, work: Path) -> None:
    log = work / f"{name}.log"
    # Threads that wait sleep: where cores are shared, spinning would count as work.
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-m", "training", *command_of(guide, name)]
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(command, cwd=work, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise ConfigError(f"the guide's {name} failed: {last_line(log)}")


def _serve(work: Path) -> None:
    """Serve the bundle to a client that sends every image once."""
    bundle, log = work / BUNDLE, work / "client.log"
    out = ["--out", str(work / "detections.jsonl")]
    with server_process(bundle, work / "server.log") as server, log.open("w", encoding="utf-8") as output:
        client = ["edge_client", "run", "--server", server.address, "--bundle", str(bundle)]
        client += ["--source", str(work / "pictures"), "--deadline-ms", f"{DEADLINE_MS:g}", *out]
        with child_process(client, output, output) as process:
            if process.wait():
                raise ConfigError(f"the guide's client failed: {last_line(log)}")


def _answered(work: Path) -> int:
    """Return how many frames were answered with detections of the guide's own classes."""
    names = set(load_device(work / BUNDLE).manifest.class_names)
    lines = (work / "detections.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line) for line in lines]
    return sum(1 for answer in answers if {found["label"] for found in answer.get("detections", [])} <= names)
