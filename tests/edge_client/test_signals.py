"""Signals before, in and after a run."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_client import signals
from edge_client.signals import ENDING, at_first_signal, ending_at_once

PROJECT = Path(__file__).resolve().parents[2]
# Is heard to have begun, and is then inside a library for ever, as one that opens a camera.
STUCK = """
import ctypes, os, sys
from edge_client.signals import ending_at_once
with ending_at_once():
    os.write(1, b"begun")
    ctypes.CDLL(None).pause()
"""


@pytest.fixture(autouse=True)
def _handlers_as_they_were():
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a process as a terminal does: none of its signals is ignored."""
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in ENDING],
    )


@pytest.mark.parametrize("number", ENDING)
def test_a_start_ends_at_once_without_a_word(number):
    with started([sys.executable, "-c", STUCK]) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(5) == b"begun"
        process.send_signal(number)
        assert process.wait(30) == -number
        assert process.stderr.read() == b""


def can_be_first() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-fp", "--mount-proc", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_be_first(), reason="needs the right to make process 1")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_1_of_a_container_ends_at_once_too(number):
    with started(["unshare", "-fp", "--mount-proc", "--kill-child", sys.executable, "-c", STUCK]) as outside:
        assert outside.stdout is not None
        assert outside.stdout.read(5) == b"begun"
        (first,) = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
        os.kill(int(first), number)
        assert outside.wait(30) == 128 + number


def test_what_the_parent_has_switched_off_stays_off():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending_at_once():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    async def run() -> None:
        at_first_signal(lambda: None)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    asyncio.run(run())


def test_handlers_are_put_back():
    handler = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        before = signal.getsignal(signal.SIGTERM)
        with ending_at_once():
            pass
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("number", ENDING)
async def test_the_first_signal_of_a_run_stops_it_and_the_next_one_ends_it(number, monkeypatch):
    signal.signal(number, signal.default_int_handler)  # whatever this process has inherited
    stopped, at_once = asyncio.Event(), []
    monkeypatch.setattr(signals, "end_at_once", lambda: at_once.append(True))
    at_first_signal(stopped.set)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(stopped.wait(), 10)
    assert at_once == [True]


def test_in_a_thread_of_a_program_its_own_handlers_stay():
    def run() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with ending_at_once():
            assert signal.getsignal(signal.SIGTERM) is before

    asyncio.run(asyncio.to_thread(run))
