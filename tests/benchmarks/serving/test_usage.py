"""Usage of a process is seen while it runs."""

from __future__ import annotations

import os

import pytest

from benchmarks.serving.usage import thinned, watched


def test_a_process_that_computes_is_seen_to():
    with watched(os.getpid()) as usage:
        before = os.times().user
        while os.times().user < before + 0.05:
            pass
    assert usage.cpu_s > 0.02 and usage.cores > 0
    assert all(memory_mb > 1 for _, memory_mb in usage.memory_mb) and usage.memory_mb


def test_an_error_in_the_block_ends_the_watch():
    with pytest.raises(ZeroDivisionError), watched(os.getpid()):
        raise ZeroDivisionError


def test_a_series_is_thinned_evenly_and_keeps_its_ends():
    series = [(float(second), 2.0 * second) for second in range(101)]
    assert [second for second, _ in thinned(series, 5)] == [0.0, 25.0, 50.0, 75.0, 100.0]
    assert thinned(series[:3], 5) == series[:3]
