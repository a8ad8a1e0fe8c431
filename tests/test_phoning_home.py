"""Nothing looks up a name or leaves a file behind that the user did not ask for. In processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from splitnet.onnx_runtime import TELEMETRY_SWITCH
from tests.support import no_sockets

PROJECT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(not no_sockets.available(), reason="needs seccomp on x86-64 or ARM64 Linux")

BOTH_ENDS = """
import sys, torch
from cloud_server.compute.onnx_module import OnnxModule, exported, is_installed
from edge_client.__main__ import main
from tests.support.no_sockets import forbid_sockets
forbid_sockets()
if is_installed():
    OnnxModule(exported(torch.nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 8, 8)), 1)(torch.zeros(1, 3, 8, 8))
sys.exit(main(sys.argv[1:]))
"""


def run(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with an empty home, as if nobody had set anything about caches, proxies or telemetry."""
    kept = {k: v for k, v in os.environ.items() if k != TELEMETRY_SWITCH and not k.startswith("XDG_")}
    home.mkdir()
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env={**kept, "HOME": str(home)}, capture_output=True, text=True, check=False
    )


def left_in(home: Path) -> list[str]:
    return [str(path.relative_to(home)) for path in home.rglob("*")]


def test_a_socket_would_be_seen(tmp_path):
    asked = "from tests.support.no_sockets import forbid_sockets as f; f(); import socket; socket.getaddrinfo('a.b', 1)"
    assert run(["-c", asked], tmp_path / "home").returncode == -signal.SIGSYS


def test_neither_end_opens_a_socket_of_its_own_accord_or_writes_into_the_home(tiny_bundle, photo, tmp_path):
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.jpg"), photo)
    options = ["--mode", "local", "--source", str(tmp_path / "pictures"), "--bundle", str(tiny_bundle)]
    ran = run(["-c", BOTH_ENDS, "run", *options], tmp_path / "home")
    assert ran.returncode == 0, ran.stderr
    assert "1 of 1 frames answered" in ran.stdout
    assert left_in(tmp_path / "home") == []
