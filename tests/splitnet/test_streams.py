"""Standard streams that are closed, full or without a reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PRINTS = """
import sys
from splitnet.errors import SplitError
from splitnet.streams import open_closed_streams, whole_output
open_closed_streams()
try:
    with whole_output():
        print("x" * 100_000, "caf\\udce9")
    sys.exit(0)
except SplitError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""


def run(redirection: str, program: str = PRINTS) -> subprocess.CompletedProcess[str]:
    """Run a program by a shell that redirects its streams; bash tells the code of the first of a pipe."""
    line = f'"$0" -c "$1" {redirection}; echo ${{PIPESTATUS[0]}} >&3'
    reading, writing = os.pipe()
    ran = subprocess.run(
        ["bash", "-c", line.replace(">&3", f">&{writing}"), sys.executable, program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        pass_fds=[writing],
        check=True,
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        ran.returncode = int(told.read())
    return ran


def test_text_that_is_not_utf_8_is_printed_escaped():
    ran = run("")
    assert (ran.returncode, ran.stdout[-11:], ran.stderr) == (0, " caf\\udce9\n", "")


@pytest.mark.parametrize("redirection", ["2>&-", "<&- 2>&-", ">&-", "<&- >&- 2>&-", "| true", "| head -c 10"])
def test_a_closed_stream_and_a_reader_that_has_gone_are_no_failure(redirection):
    ran = run(redirection)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one():
    ran = run("> /dev/full")
    assert (ran.returncode, ran.stderr) == (3, "the output cannot be written: No space left on device\n")


def test_what_is_opened_later_does_not_get_the_number_of_a_stream():
    program = "from splitnet.streams import *; open_closed_streams(); print(open('/dev/null').fileno() > 2)"
    assert run("<&- 2>&-", program).stdout == "True\n"
