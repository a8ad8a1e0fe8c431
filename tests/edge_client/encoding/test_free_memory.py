"""The memory that may still be taken, on a machine and in a container."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from edge_client.encoding.free_memory import free_memory


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=500_000_000))


def test_without_a_control_group_it_is_the_machines(tmp_path):
    assert free_memory(tmp_path) == 500_000_000


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [
        ("max\n", "1000\n", 500_000_000),
        ("300000000\n", "100000000\n", 200_000_000),
        ("900000000\n", "100000000\n", 500_000_000),
        ("100\n", "200\n", 0),
        ("", "", 500_000_000),
    ],
)
def test_a_containers_limit_counts_if_it_leaves_less(tmp_path, limit, used, expected):
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(used)
    assert free_memory(tmp_path) == expected


def test_a_system_that_does_not_say_is_not_asked_further(tmp_path, monkeypatch):
    def unknown():
        raise RuntimeError("no meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", unknown)
    assert free_memory(tmp_path) is None
