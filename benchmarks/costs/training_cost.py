"""The price of a training step of a larger detector, beside the estimate of `training.detectors.cost`.

Random weights, noise for images: neither changes the cost. Each measurement is a process of its own, so that its
largest memory is its own; the second step counts, since the first one makes the optimisers' memory.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.harness.benchmark import Benchmark
from splitnet.nn.architectures import INPUT_SIZES, architecture_of
from splitnet.nn.encoder.front import FrontSpec
from training.data.labelled_stream import LabelledBatch
from training.detectors.cost import detector_cost
from training.detectors.family import family_of
from training.detectors.task import DetectorConfig, DetectorTraining
from training.distillation.recipe import FRONT
from training.distillation.student import StudentSpec
from training.distillation.task import Distillation, DistillConfig

CLASSES = 80
PROGRESS = 0.9  # of the schedule: the losses of the end are on as well
Row = dict[str, object]


@dataclass(frozen=True)
class Load:
    """What is measured."""

    training: str  # a key of TRAININGS
    model: str
    square: int  # pixels
    batch_size: int
    threads: int


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--models", nargs="+", default=["yolox-s", "yolox-m"], choices=sorted(INPUT_SIZES), help="which (%(default)s)")
    add("--square", type=int, default=640, help="side of the training square in pixels (%(default)s)")
    add("--batch-size", type=int, default=2, help="images a step (%(default)s)")
    add("--threads", type=int, default=1, help="CPU threads (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each detector and kind of training."""
    loads = [
        Load(training, model, options.square, options.batch_size, options.threads)
        for model in options.models
        for training in TRAININGS
    ]
    return {"precision": "as the machine computes natively", "steps": [_apart(load) for load in loads]}


BENCHMARK = Benchmark("training-cost", "memory and time of training larger detectors", _add_arguments, run)


def _apart(load: Load) -> Row:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (load,))


def measured(load: Load) -> Row:
    """Do two steps; returns the second's time, and the memory beyond what the process began with."""
    torch.set_num_threads(load.threads)
    began_gb = peak_gb()
    step = TRAININGS[load.training](load)
    step()
    start, before = time.perf_counter(), time.process_time()
    step()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - before
    cost = detector_cost(load.model, load.square, CLASSES)
    return {
        "model": load.model,
        "training": load.training,
        "square": load.square,
        "batch_size": load.batch_size,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "memory_gb": round(peak_gb() - began_gb, 2),
        "estimated_gb": round(cost.memory_gb(load.batch_size), 2),
        "estimated_gflop": round(load.batch_size * cost.gflops, 1),
    }


def peak_gb() -> float:
    """Return the most memory that this process has held so far, in gigabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _images(load: Load) -> np.ndarray:
    shape = (load.batch_size, load.square, load.square, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _detector(load: Load) -> Callable[[], object]:
    family = family_of(load.model)
    config = DetectorConfig(load.model, steps=10, batch_size=load.batch_size)
    task = DetectorTraining(config, family, family.build(load.model, CLASSES))
    box = np.array([[0.1, 0.1, 0.6, 0.5]], np.float32) * load.square
    boxes, labels = (box,) * load.batch_size, (np.array([1]),) * load.batch_size
    batch = LabelledBatch(_images(load), boxes, labels)
    return lambda: task.train(batch, PROGRESS)


def _distillation(load: Load) -> Callable[[], object]:
    teacher = architecture_of(load.model).build(load.model, CLASSES).eval()
    encoder = FrontSpec((load.square,))
    spec = StudentSpec(load.model, CLASSES, encoder=encoder, decoder=FRONT.decoder)
    task, batch = Distillation(DistillConfig(load.square, FRONT), spec, teacher), _images(load)
    return lambda: task.train(batch, PROGRESS)


TRAININGS = {"detector": _detector, "distill": _distillation}
