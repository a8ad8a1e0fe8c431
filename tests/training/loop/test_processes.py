"""Processes that train together as torchrun describes them, and training alone."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from torch import nn

from splitnet.errors import ConfigError
from training.launch import is_launcher, launch
from training.loop import processes as module
from training.loop.machine import check_gpus
from training.loop.processes import Processes, joined, processes_of


def test_alone_there_is_nothing_to_share():
    processes = processes_of({})
    assert processes == Processes(0, 1, 0)
    assert processes.is_first
    assert processes.share(7) == 7
    network = nn.Linear(1, 1)
    network(torch.ones(1, 1)).sum().backward()
    before = [network.weight.clone(), network.weight.grad.clone()]
    processes.agree(network)
    processes.average(network)
    assert torch.equal(network.weight, before[0])
    assert torch.equal(network.weight.grad, before[1])


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


def answer(monkeypatch: pytest.MonkeyPatch, *messages: list[float]) -> None:
    """Let a second process send these messages when both add up theirs."""
    waiting = [torch.tensor(message) for message in messages]
    monkeypatch.setattr(module.distributed, "all_reduce", lambda flat: flat.add_(waiting.pop(0)))


def test_gradients_become_their_mean_also_where_one_process_has_none(monkeypatch):
    ours, theirs, nobodys, frozen = network = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(4))
    frozen.requires_grad_(False)
    ours.weight.grad = torch.tensor([[1.0]])
    answer(monkeypatch, [3.0, 4.0, 0.0, 1.0, 1.0, 0.0])  # gradients, and who has one
    Processes(0, 2).average(network)
    assert (ours.weight.grad.item(), theirs.weight.grad.item()) == (2.0, 2.0)
    assert nobodys.weight.grad is None
    assert frozen.weight.grad is None


def test_a_wild_gradient_of_one_process_is_wild_for_all(monkeypatch):
    network = nn.Linear(1, 1, bias=False)
    network.weight.grad = torch.tensor([[1.0]])
    answer(monkeypatch, [float("nan"), 1.0])
    Processes(1, 2).average(network)
    assert bool(network.weight.grad.isnan())


def test_statistics_become_their_mean_and_counts_stay(monkeypatch):
    norm = nn.BatchNorm1d(2, affine=False)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    norm.num_batches_tracked.fill_(7)
    answer(monkeypatch, [3.0, 0.0, 2.0, 1.0])
    Processes(0, 2).average(norm)
    torch.testing.assert_close(norm.running_mean, torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(norm.running_var, torch.tensor([1.5, 1.0]))
    assert norm.num_batches_tracked.item() == 7


def test_a_gradient_keeps_its_layout(monkeypatch):
    conv = nn.Conv2d(2, 1, 2, bias=False)
    conv.weight.grad = torch.arange(8.0).reshape(1, 2, 2, 2).contiguous(memory_format=torch.channels_last)
    answer(monkeypatch, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.0])
    Processes(0, 2).average(conv)
    torch.testing.assert_close(conv.weight.grad, torch.arange(8.0).reshape(1, 2, 2, 2))
    assert conv.weight.grad.is_contiguous(memory_format=torch.channels_last)


def test_all_begin_with_the_weights_of_the_first(monkeypatch):
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    sent = torch.tensor([0.5, 0.25, 2.0, 3.0, 4.0, 5.0, 6.0])
    monkeypatch.setattr(module.distributed, "broadcast", lambda flat, source: flat.copy_(sent))
    Processes(1, 2).agree(network)
    assert [value.item() for value in network.state_dict().values()] == sent.tolist()


@pytest.mark.parametrize(("gpus", "environment", "starts"), [(1, {}, False), (2, {}, True), (2, {"RANK": "0"}, False)])
def test_one_process_starts_the_others(gpus, environment, starts):
    assert is_launcher(gpus, environment) == starts


def test_the_command_is_started_again_by_torchrun(monkeypatch):
    started: list[str] = []
    monkeypatch.setattr(os, "execv", lambda path, words: started.extend([path, *words]))
    launch(4, ["distill", "--run", "here"])
    assert started[:2] == [sys.executable, sys.executable]
    assert " ".join(started[2:]) == (
        "-m torch.distributed.run --standalone --nproc_per_node 4 -m -- training distill --run here"
    )


@pytest.mark.parametrize(
    ("gpus", "batch", "kind", "message"),
    [
        (0, 8, "cpu", "--gpus is 0, must be at least 1"),
        (3, 8, "cpu", "--batch-size 8 cannot be shared out to 3 processes"),
        (2, 8, "cuda", "--gpus is 2, but the machine has 1"),
    ],
)
def test_gpus_that_are_not_there_or_have_nothing_to_share_are_refused(monkeypatch, gpus, batch, kind, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=message):
        check_gpus(gpus, batch, kind)
    check_gpus(1, 7, "cuda")
    check_gpus(7, 7, "cpu")
