"""What systemd hears of a service, by a socket as it makes one."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from splitnet.service_manager import ALIVE, READY, notify, show_life, watchdog_interval_s


@pytest.fixture
def manager(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listening


def test_a_service_says_that_it_is_ready(manager):
    assert notify(READY)
    assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("place", ["", "relative", "/nowhere/at/all"])
def test_without_a_manager_nothing_is_said(place, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    assert not notify(READY)


@pytest.mark.parametrize(
    ("microseconds", "process", "expected"),
    [("30000000", "", 15.0), ("", "", None), ("0", "", None), ("x", "", None), ("30000000", "1", None)],
)
def test_signs_of_life_are_due_twice_in_the_units_time(microseconds, process, expected, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", process)
    assert watchdog_interval_s() == expected
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert (watchdog_interval_s() is None) == (microseconds != "30000000")


async def test_signs_of_life_come_while_the_loop_turns(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "2")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    living = asyncio.create_task(show_life())
    for _ in range(3):
        await asyncio.sleep(0)
        assert await asyncio.to_thread(manager.recv, 100) == ALIVE.encode()
    living.cancel()
