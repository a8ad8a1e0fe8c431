"""An update of weights behind the golden bytes in tests/data, made of integers alone.

Run `python -m tests.support.golden_update` to write the file anew. Do so only together with a new version of the
format: updates that were signed are applied for years.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.updates.weights.counter_random import words
from splitnet.updates.weights.families import FAMILIES, Change, TensorChange, has_family, part_sizes
from splitnet.updates.weights.weight_format import Layout, WeightUpdate, WholeTensor
from splitnet.updates.weights.weight_update import pack_weights

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden_update.bin"
GOLDEN_AFTER = "12a90d38f60c9349"  # of the weights that it makes
SHAPES = {
    "head.bias": (5,),
    "head.weight": (5, 8, 1, 1),
    "stem.bias": (8,),
    "stem.depthwise": (8, 1, 3, 3),
    "stem.gain": (6,),
    "stem.weight": (8, 3, 3, 3),
}
RANKS = {"factors": 2, "seeded": 2, "basis": 3}


def golden_base() -> dict[str, NDArray[Any]]:
    """Return small weights of each sort, and counts that are none."""
    weights: dict[str, NDArray[Any]] = {
        name: (_integers(number, int(np.prod(shape)), 200).reshape(shape) / 256).astype(np.float16)
        for number, (name, shape) in enumerate(SHAPES.items())
    }
    weights["stem.gain"] = weights["stem.gain"].astype(np.float32)
    return {**weights, "tables": np.arange(7, dtype=np.int32)}


def golden_update() -> WeightUpdate:
    """Return an update with every family, a tensor of another shape, a new one and one that is dropped."""
    changes = {}
    for number, (name, shape) in enumerate(SHAPES.items()):
        if name.startswith("head") or name == "stem.bias":
            continue
        found = {}
        for place, family in enumerate(FAMILIES):
            if has_family(shape, family):
                rank = RANKS.get(family, 0)
                sizes = part_sizes(shape, family, rank)
                parts = tuple(_integers(100 * number + 10 * place + i, size, 3) for i, size in enumerate(sizes))
                found[family] = Change(-30 + 2 * place - number, parts, rank)
        changes[name] = TensorChange(found)
    whole = {
        "head.weight": WholeTensor(Layout(np.dtype(np.float16), (3, 8, 1, 1)), -25, _integers(7, 24, 40)),
        "extra": WholeTensor(Layout(np.dtype(np.float32), (4,)), -10, _integers(8, 4, 9)),
    }
    return WeightUpdate(changes, whole, ("head.bias",), seed=3)


def _integers(seed: int, count: int, bound: int) -> NDArray[np.int16]:
    """Return integers of -bound .. bound, smaller ones more often."""
    drawn = words(seed, 0, 2 * count).astype(np.uint64) % np.uint64(bound + 1)
    return (drawn[:count].astype(np.int64) - drawn[count:].astype(np.int64)).astype(np.int16)


if __name__ == "__main__":
    GOLDEN.write_bytes(pack_weights(golden_update(), golden_base()))
