"""Cores that are kept awake, at the lowest priority."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from benchmarks.harness.cores import available_cores
from benchmarks.serving.awake import kept_awake


def spinning() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "SCHED_IDLE" in " ".join(child.cmdline())]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux only")
def test_one_process_for_each_core_and_none_afterwards():
    cores = available_cores()[:2]
    with pytest.raises(ZeroDivisionError), kept_awake(cores):
        assert [set(child.cpu_affinity()) for child in spinning()] == [{core} for core in cores]
        raise ZeroDivisionError
    assert spinning() == []
    assert available_cores() == tuple(sorted(os.sched_getaffinity(0)))


def test_no_core_is_nobody():
    with kept_awake(()):
        assert spinning() == []
