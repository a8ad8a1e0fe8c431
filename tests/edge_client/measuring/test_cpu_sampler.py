"""Sampling the processor, also where the system does not show it."""

from __future__ import annotations

import psutil
import pytest

from edge_client.adaptation.load import CpuSample
from edge_client.measuring.cpu_sampler import CpuSampler


def test_a_sample_holds_shares():
    sample = CpuSampler().sample()
    assert 0 <= sample.busy <= 1
    assert 0 <= sample.own <= 1


def test_shares_are_of_all_cores_and_never_above_one(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 130.0)
    monkeypatch.setattr(psutil.Process, "cpu_percent", lambda process: 200.0)
    assert CpuSampler().sample() == CpuSample(busy=1.0, own=0.5)


@pytest.mark.parametrize("error", [NotImplementedError(), PermissionError(), psutil.AccessDenied()])
def test_a_board_that_shows_nothing_is_sampled_all_the_same(monkeypatch, error):
    def missing(*_: object) -> float:
        raise error

    monkeypatch.setattr(psutil, "cpu_percent", missing)
    monkeypatch.setattr(psutil.Process, "cpu_percent", missing)
    assert CpuSampler().sample() == CpuSample(0.0, 0.0)
