"""What torchrun says, and training alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from splitnet.errors import ConfigError
from training.precision import mixed_precision, native_bfloat16
from training.processes import Processes, joined, processes_of


def test_alone_there_is_nothing_to_share():
    processes = processes_of({})
    assert processes == Processes(0, 1, 0)
    assert processes.is_first
    assert processes.share(7) == 7
    network = nn.Linear(1, 1)
    assert processes.shared(network, torch.device("cpu")) is network


def test_torchrun_says_who_one_is():
    processes = processes_of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert processes == Processes(3, 4, 1)
    assert not processes.is_first
    assert processes.share(8) == 2
    assert processes.device("cuda") == torch.device("cuda", 1)
    assert processes.device("cpu") == torch.device("cpu")


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="a batch of 6 cannot be shared by 4 processes"):
        Processes(0, 4).share(6)


@pytest.mark.parametrize(
    "odd", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1"}, {"RANK": "one"}, {"WORLD_SIZE": "0"}]
)
def test_an_impossible_place_is_refused(odd):
    with pytest.raises(ConfigError, match="RANK"):
        processes_of(odd)


def test_alone_nobody_is_met(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as processes:
        assert not torch.distributed.is_initialized()
        assert processes.count == 1


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
