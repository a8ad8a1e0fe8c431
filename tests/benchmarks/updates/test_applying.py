"""The update that the benchmark applies: every tensor changes, and the memory is counted."""

from __future__ import annotations

import numpy as np

from benchmarks.updates.applying import peak_bytes, whole_update
from splitnet.updates.weights.weight_update import apply_weights, pack_weights


def base() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {"conv": draw.normal(size=(64, 32, 3, 3)).astype(np.float16), "bias": np.ones(64, np.float16)}


def test_every_tensor_changes_and_matrices_by_factors():
    update = whole_update(base(), rank=2)
    assert {name: tuple(one.changes) for name, one in update.changes.items()} == {
        "conv": ("factors",),
        "bias": ("dense",),
    }
    after = apply_weights(pack_weights(update, base()), base())
    assert all((after[name] != one).any() for name, one in base().items())


def test_the_peak_holds_the_result_at_least():
    data = pack_weights(whole_update(base(), rank=2), base())
    assert peak_bytes(data, base()) > sum(one.nbytes for one in base().values())
