"""A group as real processes: one device owns the camera, one follows and is killed, a third never comes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import cv2
import pytest

from benchmarks.harness.processes import server_process

PROJECT = Path(__file__).resolve().parents[2]
DEADLINE_MS = 2000

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts `edge-client run`; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edge_client", "run", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen(command, cwd=PROJECT, text=True, **pipes))
        return running[-1]

    yield started
    for process in running:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def lines_until(lines: IO[str], parts: list[int], times: int = 2) -> list[dict[str, Any]]:
    """Return the detections that are read until some parts have answered so many frames in a row."""
    read: list[dict[str, Any]] = []
    while [one["parts"] for one in read[-times:]] != [parts] * times:
        read.append(json.loads(lines.readline()))
    return read


def test_a_device_of_a_group_lags_rejoins_and_is_killed_while_answers_go_on(start, tiny_group, photo, tmp_path):
    images, port = tmp_path / "images", free_port()
    images.mkdir()
    for number in range(8):
        cv2.imwrite(str(images / f"{number}.jpg"), photo[:400, number : number + 500])
    password, out = tmp_path / "password", tmp_path / "owner.jsonl"
    password.write_text("a password of some length\n")
    os.mkfifo(out)
    with server_process(tiny_group, tmp_path / "log", "--threads", "1") as server:

        def device(part: int, *options: object) -> subprocess.Popen[str]:
            place = ["--group", "yard", "--part", f"{part}/3", "--device-id", f"cam-{part}", "--bundle", tiny_group]
            own = ["--group-password-file", password, "--deadline-ms", DEADLINE_MS, "--server", server.address]
            return start(*place, *own, *options)

        listen = ["--group-listen", f"127.0.0.1:{port}", "--loop", "--out", out]
        owner = device(1, "--source", images, *listen)
        with out.open(encoding="utf-8") as lines:
            lines_until(lines, [1])  # the others are not there yet, and one never will be
            follower = device(3, "--source", f"group://127.0.0.1:{port}")
            lines_until(lines, [1, 3])
            follower.send_signal(signal.SIGSTOP)
            lines_until(lines, [1])
            follower.send_signal(signal.SIGCONT)
            lines_until(lines, [1, 3])  # without a restart
            follower.kill()
            degraded = lines_until(lines, [1], 5)
            owner.terminate()
            lines.read()
        printed, complaints = owner.communicate(timeout=60)
    assert owner.returncode == 0, complaints
    assert [one["late"] for one in degraded[-5:]] == [False] * 5
    assert "group yard 1/3: " in printed and "part 2 in" in printed
    ids = [one["frame_id"] for one in degraded]
    assert ids == sorted(ids)
