"""A command's output to a person: lines on stdout, and beside them, on a terminal, a line that changes."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

from splitnet.errors import OutputError
from splitnet.streams import whole_output
from splitnet.text import escaped, without_secrets

PROGRAM = "edge-client"
USUAL_COLUMNS = 80
_CLEAR_LINE = "\r\x1b[2K"


class Console:
    """The standard streams of a command. A reader of stdout that has gone (`| head -1`) has what it wanted."""

    def __init__(self) -> None:
        self.lost: OutputError | None = None  # the first failure to print what somebody waits for
        self._is_terminal = sys.stderr.isatty()

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sees `show`."""
        return self._is_terminal

    def say(self, text: str) -> None:
        """Print lines of results."""
        try:
            with whole_output():
                sys.stdout.write(f"{text}\n")
        except OutputError as error:
            self.lost = self.lost or error

    def complain(self, text: str) -> None:
        """Print an error, without secrets and fit for a terminal."""
        self._write(f"{_CLEAR_LINE if self._is_terminal else ''}{PROGRAM}: {fit(text)}\n")

    def show(self, line: str) -> None:
        """Put a line in the place of the one before, cut to the terminal's width."""
        if self._is_terminal:
            self._write(_CLEAR_LINE + line[: _columns() - 1])

    def show_progress(self, share: float) -> None:
        """Show how much has been measured, 0..1."""
        self.show(f"measured {share:.0%}" if share < 1 else "")

    def keep(self) -> None:
        """Leave the line that is shown where it is, and go on below it."""
        if self._is_terminal:
            self._write("\n")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # nobody is there to be told
            sys.stderr.write(text)
            sys.stderr.flush()


class LogFormatter(logging.Formatter):
    """Formats records as `Console.complain` does."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return (
            _CLEAR_LINE if sys.stderr.isatty() else ""
        ) + f"{PROGRAM}: {_of_camera(record)}{fit(super().format(record))}"


def _of_camera(record: logging.LogRecord) -> str:
    name = getattr(record, "camera", "")
    return f"camera {name}: " if name else ""


def fit(text: str) -> str:
    """Return a text without secrets and without what would steer a terminal."""
    return escaped(without_secrets(text))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_COLUMNS  # some terminals do not say
    except OSError:
        return USUAL_COLUMNS
