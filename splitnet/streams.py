"""Standard streams that may be closed, full, or without a reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from splitnet.errors import OutputError


def open_closed_streams() -> None:
    """Open /dev/null in the place of standard streams that are closed, and let stdout take any text.

    Else the next file or socket would get their number, and whatever a library writes to stderr would go into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - stays open
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: names of files may be any bytes


@contextmanager
def whole_output() -> Iterator[None]:
    """Write out what is printed in this block before it is left.

    Raises OutputError if it cannot be written, on a full disk for instance. A reader that has gone (`| head -1`) has
    what it wanted: that ends the block in silence.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        raise OutputError(f"the output cannot be written: {error.strerror}") from error


def say(line: str) -> None:
    """Print a line for whoever started a daemon. If nobody hears it, the daemon goes on all the same."""
    with suppress(OutputError), whole_output():
        sys.stdout.write(f"{line}\n")


def discard_output() -> None:
    """Let what is still in the buffer of stdout go nowhere, so that the interpreter's end does not fail on it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
