"""What applying an update takes of a device: time and memory, for a detector whose every tensor changes."""

from __future__ import annotations

import tracemalloc
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.harness.benchmark import Benchmark, milliseconds_p50
from splitnet.manifest import DETECTOR_FILE
from splitnet.updates.weights.families import (
    DENSE,
    FACTORS,
    STEPS_AN_OCTAVE,
    Change,
    TensorChange,
    has_family,
    most_rank,
    part_sizes,
)
from splitnet.updates.weights.weight_format import WeightUpdate
from splitnet.updates.weights.weight_update import apply_weights, pack_weights

STEP_CODE = -12 * STEPS_AN_OCTAVE  # small beside any weight
LARGEST = 3  # symbol
Weights = Mapping[str, NDArray[Any]]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=Path("bundles/coco-nano"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--rank", type=int, default=4, metavar="N", help="of every matrix's change (%(default)s)")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="(%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the time for a million weights, compiled code being there, and the most memory, the old model included."""
    base = load_file(options.bundle / DETECTOR_FILE)
    weights, held_bytes = sum(one.size for one in base.values()), sum(one.nbytes for one in base.values())
    data = pack_weights(whole_update(base, options.rank), base)
    taken_s = milliseconds_p50(lambda: apply_weights(data, base), options.repeats) / 1000
    return {
        "bundle": options.bundle.name,
        "weights": weights,
        "update_bytes": len(data),
        "seconds_per_million": round(1e6 * taken_s / weights, 3),
        "peak_of_model": round(1 + peak_bytes(data, base) / held_bytes, 2),
    }


BENCHMARK = Benchmark("update-apply", "what applying an update takes of a device", _add_arguments, run)


def whole_update(base: Weights, rank: int) -> WeightUpdate:
    """Return an update that changes every tensor, matrices by factors."""
    draw = np.random.default_rng(0)
    changes = {}
    for name, one in base.items():
        family = FACTORS if has_family(one.shape, FACTORS) else DENSE
        own = min(rank, most_rank(one.shape)) if family == FACTORS else 0
        sizes = part_sizes(one.shape, family, own)
        parts = tuple(draw.integers(-LARGEST, LARGEST + 1, size).astype(np.int16) for size in sizes)
        changes[name] = TensorChange({family: Change(STEP_CODE, parts, own)})
    return WeightUpdate(changes, {}, (), 0)


def peak_bytes(data: bytes, base: Weights) -> int:
    """Return the most memory that applying an update takes at once, its result included."""
    tracemalloc.start()
    try:
        apply_weights(data, base)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
