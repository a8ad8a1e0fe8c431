"""Cores for what is measured, and cores for its load."""

from __future__ import annotations

import os

import pytest

from benchmarks.harness.cores import Cores, available_cores, on_cores, shared_out


@pytest.mark.parametrize(
    ("available", "wanted", "cores"),
    [
        ({0, 1}, 1, Cores((0,), (1,))),
        ({7, 3, 5}, 2, Cores((3, 5), (7,))),
        ({0, 1}, 2, Cores((0, 1), (0, 1))),
        ({4}, 1, Cores((4,), (4,))),
    ],
)
def test_the_server_has_its_cores_and_the_load_the_others(available, wanted, cores):
    assert shared_out(available, wanted) == cores


def test_a_block_runs_on_its_cores_and_what_follows_on_all():
    before = available_cores()
    with on_cores(before[:1]):
        assert available_cores() == before[:1]
    assert available_cores() == before


def test_an_error_in_a_block_gives_the_cores_back():
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), on_cores(list(before)[:1]):
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before
