"""Number formats of training, and what stays in single precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.tiny_student import SQUARE, make_teacher
from training.distillation.recompression import RecompressConfig, Recompression
from training.loop.precision import in_single, is_mixed, mixed_precision, native_bfloat16, single_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ("fpu avx2 avx512f", False),
        ("avx512_bf16 fpu", True),
        ("amx_tile amx_bf16", True),
        ("asimd bf16", True),
        ("", False),
    ],
)
def test_a_processor_says_whether_it_has_bfloat16(tmp_path, flags, native):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert native_bfloat16(torch.device("cpu"), tmp_path / "cpuinfo") == native


def test_a_system_that_does_not_say_has_none():
    assert not native_bfloat16(torch.device("cpu"), Path("/nowhere"))


def test_mixed_precision_multiplies_in_bfloat16_only_if_used():
    layer = nn.Linear(2, 2)
    for is_used, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with mixed_precision(torch.device("cpu"), is_used):
            assert layer(torch.zeros(1, 2)).dtype is dtype


def test_inside_mixed_precision_a_part_may_be_single():
    layer = nn.Linear(2, 2)
    with mixed_precision(CPU, True):
        rounded = layer(torch.zeros(1, 2))
        with single_precision(CPU):
            assert layer(torch.zeros(1, 2)).dtype is torch.float32
        assert layer(torch.zeros(1, 2)).dtype is torch.bfloat16
    assert in_single({"a": rounded})["a"].dtype is torch.float32


@pytest.mark.parametrize(
    ("precision", "native", "mixed"),
    [
        ("auto", False, False),
        ("auto", True, True),
        ("single", True, False),
        ("bfloat16", False, True),
    ],
)
def test_bfloat16_is_used_where_it_is_native_or_asked_for(monkeypatch, precision, native, mixed):
    monkeypatch.setattr("training.loop.precision.native_bfloat16", lambda _: native)
    assert is_mixed(precision, CPU) == mixed


def test_recompression_in_bfloat16_comes_near_that_in_single_precision():
    figures, tasks = [], []
    for precision in ("single", "bfloat16"):
        task = Recompression(RecompressConfig(SQUARE, precision=precision), make_teacher())
        figures.append(task.train(np.random.default_rng(0).integers(0, 256, (2, SQUARE, SQUARE, 3), np.uint8), 0.5))
        tasks.append(task)
    assert figures[0] != figures[1]
    for name, (value,) in figures[0].items():
        assert figures[1][name][0] == pytest.approx(value, rel=0.1), name
    state = tasks[1].state()
    assert all(
        value.dtype is not torch.bfloat16 for value in (*state["recompressed"].values(), *state["average"].values())
    )
