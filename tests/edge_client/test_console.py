"""A command's output to a person."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from edge_client.console import Console, LogFormatter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_takes_the_place_of_the_one_before_and_fits(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    console = Console()
    console.show("x" * 200)
    console.show("short")
    console.keep()
    console.show_progress(0.5)
    console.show_progress(1.0)
    clear = "\r\x1b[2K"
    assert terminal.getvalue() == f"{clear}{'x' * 79}{clear}short\n{clear}measured 50%{clear}"


def test_without_a_terminal_nothing_changes(capsys):
    console = Console()
    console.show("line")
    console.keep()
    console.say("result")
    assert capsys.readouterr() == ("result\n", "")


@pytest.mark.parametrize("printed", [True, False])
def test_errors_and_warnings_have_no_secrets_and_steer_no_terminal(printed, capsys):
    text = "camera rtsp://me:secret@cam is\x1b[2J away"
    if printed:
        Console().complain(text)
    else:
        record = logging.LogRecord(
            "x", logging.WARNING, "x", 1, "camera %s is\x1b[2J away", ("rtsp://me:secret@cam",), None
        )
        print(LogFormatter().format(record), file=sys.stderr)
    assert capsys.readouterr().err == "edge-client: camera rtsp://***@cam is\\x1b[2J away\n"


def test_a_full_stdout_is_remembered_and_a_broken_stderr_is_not_minded(monkeypatch):
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("splitnet.streams.discard_output", lambda: None)
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    console = Console()
    console.say("result")
    console.complain("error")
    assert str(console.lost) == "the output cannot be written: No space left on device"
