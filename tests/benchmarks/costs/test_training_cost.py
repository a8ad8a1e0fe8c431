"""The price of a training step: measured in a process of its own, beside the estimate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.costs import training_cost
from benchmarks.costs.training_cost import TRAININGS, Load, measured, peak_gb
from training.detectors.cost import detector_cost

pytestmark = pytest.mark.usefixtures("keep_threads")


def test_memory_is_counted_at_its_largest():
    before = peak_gb()
    big = np.ones(300_000_000, np.uint8)
    assert peak_gb() >= max(before, 0.3)
    del big
    assert peak_gb() >= before


@pytest.mark.parametrize("training", sorted(TRAININGS))
def test_a_step_is_measured_beside_its_estimate(training):
    row = measured(Load(training, "yolox-nano", 64, 2, 1))
    cost = detector_cost("yolox-nano", 64)
    assert (row["model"], row["training"], row["square"], row["batch_size"]) == ("yolox-nano", training, 64, 2)
    assert row["estimated_gb"] == round(cost.memory_gb(2), 2)
    assert row["estimated_gflop"] == round(2 * cost.gflops, 1)
    assert row["seconds"] > 0
    assert row["cpu_seconds"] > 0


def test_every_model_and_training_is_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(training_cost, "_apart", lambda load: {"model": load.model, "training": load.training})
    assert main(["training-cost", "--out", str(tmp_path / "cost.json")]) == 0
    result = json.loads((tmp_path / "cost.json").read_text())
    assert [(row["model"], row["training"]) for row in result["steps"]] == [
        ("yolox-s", "detector"), ("yolox-s", "distill"), ("yolox-m", "detector"), ("yolox-m", "distill")
    ]  # fmt: skip
    assert {"commit", "machine"} <= result.keys()
