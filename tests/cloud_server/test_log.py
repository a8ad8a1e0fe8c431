"""The log: one JSON object a line, bounded, and never a reason to wait."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_server.log import BURST, EVENTS_PER_S, EventBudget, JsonFormatter, LineWriter
from tests.conftest import PROJECT

FULL = Path("/dev/full")


def record(event: str = "session opened", at: float = 0.0, **facts: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": event, "levelno": logging.INFO, "levelname": "INFO", "created": at, **facts})


def test_a_record_becomes_one_line_with_its_facts():
    entry = json.loads(JsonFormatter().format(record(at=1.5, device="camera-1", frames=3)))
    assert entry == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "level": "info",
        "event": "session opened",
        "device": "camera-1",
        "frames": 3,
    }


def test_text_of_strangers_is_printable_bounded_and_without_passwords():
    entry = json.loads(JsonFormatter().format(record(device="\x1b[31m" + "x" * 5000, peer="rtsp://me:secret@host/")))
    assert entry["device"].startswith("\\x1b[31mxxx") and len(entry["device"]) <= 300
    assert entry["peer"] == "rtsp://***@host/"


def test_a_traceback_is_bounded_and_stays_in_its_line():
    try:
        raise ValueError("x" * 100_000)
    except ValueError:
        line = JsonFormatter().format(record(exc_info=sys.exc_info()))
    assert "\n" not in line and len(json.loads(line)["traceback"]) == 20_000


def test_a_flood_of_one_event_spends_its_own_budget_and_says_what_was_left_out():
    budget = EventBudget()
    passed = [budget.filter(record(at=10.0)) for _ in range(2 * BURST)]
    assert passed == [True] * BURST + [False] * BURST
    assert budget.filter(record("draining", at=10.0))
    assert not budget.filter(record(at=10.0 + 0.5 / EVENTS_PER_S))
    later = record(at=10.0 + 2.0 / EVENTS_PER_S)
    assert budget.filter(later) and json.loads(JsonFormatter().format(later))["left_out"] == BURST + 1
    following = record(at=10.0 + 4.0 / EVENTS_PER_S)
    assert budget.filter(following) and "left_out" not in json.loads(JsonFormatter().format(following))


def test_the_kinds_of_events_that_are_remembered_are_bounded():
    budget = EventBudget()
    for number in range(1000):
        budget.filter(record(f"event {number}"))
    assert len(budget._spent) <= 257


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_lines_are_written_in_order(pipe):
    writer = LineWriter(pipe[1])
    for number in range(3):
        writer.put(str(number))
    writer.stop()
    assert os.read(pipe[0], 100) == b"0\n1\n2\n"


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_what_was_dropped_is_counted(pipe):
    writer = LineWriter(pipe[1], max_lines=4)
    for _ in range(100):
        writer.put("x" * 10_000)  # the pipe holds six
    writer.stop(timeout_s=0.0)
    read = b""
    while not read.endswith(b"}\n"):
        read += os.read(pipe[0], 1 << 16)
    *lines, dropped = read.splitlines()
    assert set(lines) == {b"x" * 10_000}
    assert json.loads(dropped) == {"level": "warning", "event": "log lines dropped", "count": 100 - len(lines)}


def test_a_pipe_whose_reader_has_gone_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing)
    writer.put("line")
    writer.stop()
    assert not [thread for thread in threading.enumerate() if thread is writer._thread]
    os.close(writing)


def test_a_full_disk_is_no_failure_and_once_there_is_room_the_log_says_how_much_is_missing(pipe, monkeypatch):
    write = os.write

    def write_where_there_is_room(descriptor: int, data: bytes) -> int:
        if data.startswith(b"lost") or (data.startswith(b"{") and not room.is_set()):
            raise OSError(errno.ENOSPC, "No space left on device")
        room.set()
        return write(descriptor, data)

    room = threading.Event()
    monkeypatch.setattr(os, "write", write_where_there_is_room)
    writer = LineWriter(pipe[1])
    for line in ("lost", "lost", "lost", "written"):
        writer.put(line)
    writer.stop()
    line, dropped = os.read(pipe[0], 1000).splitlines()
    assert (line, json.loads(dropped)["count"]) == (b"written", 3)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_the_device_goes_on_with_a_full_disk_too(pipe, monkeypatch):
    with FULL.open("w", buffering=1) as disk:
        handler = logging.StreamHandler(disk)
        handler.setFormatter(JsonFormatter())
        monkeypatch.setattr(sys, "stderr", disk)
        for number in range(3):
            handler.handle(record(f"lost {number}"))
        os.dup2(pipe[1], disk.fileno())
        handler.handle(record("written"))
    assert json.loads(os.read(pipe[0], 10_000).splitlines()[-1])["event"] == "written"


def test_what_libraries_write_to_stderr_becomes_events_between_which_no_line_is_torn():
    program = """
import logging, os, sys
from cloud_server.log import logging_to_stderr
with logging_to_stderr("info"):
    os.write(2, b"Corrupt JPEG data: 3 extraneous bytes\\n\\xff half a")
    os.write(2, b" line\\n")
    logging.getLogger("x").info("ready")
    print("from Python", file=sys.stderr)
print("afterwards", file=sys.stderr)
os.write(2, b"and from C\\n")
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    *lines, after, also_after = ran.stderr.splitlines()
    assert (after, also_after) == ("afterwards", "and from C") and "from Python" in lines
    entries = [json.loads(line) for line in lines if line != "from Python"]
    assert [entry["text"] for entry in entries if entry["event"] == "a library says"] == [
        "Corrupt JPEG data: 3 extraneous bytes",
        "\\xff half a line",
    ]
    assert "ready" in [entry["event"] for entry in entries]
