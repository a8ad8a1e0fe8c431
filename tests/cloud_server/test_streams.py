"""The command with standard streams that are closed, full, or without a reader: no traceback, the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

FULL = Path("/dev/full")


def ran(shell: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cloud-server` in a shell that does something to its streams."""
    environment = {**os.environ, "COMMAND": " ".join((sys.executable, "-m", "cloud_server", *arguments))}
    environment.pop("PYTHONUNBUFFERED", None)  # with it argparse swallows what it cannot write
    whole = f"set -o pipefail; {shell}"
    return subprocess.run(
        ["bash", "-c", whole], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("shell", ["$COMMAND >&-", "$COMMAND 2>&-", "$COMMAND <&- >&- 2>&-"])
def test_closed_streams_are_no_failure(shell):
    done = ran(shell, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_without_a_stderr_keeps_its_exit_code():
    done = ran("$COMMAND 2>&-", "serve", "--max-queue", "0")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_reader_that_stops_early_has_what_it_wanted():
    done = ran("$COMMAND | exec true", "--help")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_exit_code_2():
    done = ran("$COMMAND > /dev/full", "--help")
    assert done.returncode == 2
    assert done.stderr == "cloud-server: the output cannot be written: No space left on device\n"
