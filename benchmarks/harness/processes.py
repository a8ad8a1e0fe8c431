"""The project's own commands as child processes that never outlive their parent's interest in them."""

from __future__ import annotations

import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from splitnet.errors import LinkError

PROJECT = Path(__file__).resolve().parents[2]
READY = re.compile(r"[\w-]+ ready: listening on (\S+:\d+)\b")
STOP_PATIENCE_S = 10.0  # after SIGTERM; then SIGKILL

Process = subprocess.Popen[str]


@dataclass(frozen=True)
class ServerProcess:
    """A `cloud-server` that is ready. address: HOST:PORT."""

    address: str
    process: Process

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None


@contextmanager
def server_process(
    bundle: Path, log: Path, *options: str, patience_s: float = 600.0, namespace: str | None = None
) -> Iterator[ServerProcess]:
    """Run `cloud-server serve` on a free port of the loopback interface until the block ends.

    log: the file for what it writes to stderr. namespace: the network namespace to run it in. Raises LinkError
    if it is not ready in time.
    """
    command = ["cloud_server", "serve", "--bundle", str(bundle.resolve()), "--listen", "127.0.0.1:0", *options]
    with (
        log.open("w", encoding="utf-8") as stderr,
        child_process(command, subprocess.PIPE, stderr, namespace=namespace) as process,
    ):
        yield ServerProcess(address_of(process, "server", log, patience_s), process)


@contextmanager
def child_process(
    command: Sequence[str],
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    *,
    stdin: int | IO[str] = subprocess.DEVNULL,
    namespace: str | None = None,
) -> Iterator[Process]:
    """Run `python -m` with a command, in the project's folder, until the block ends in whatever way.

    The child is in a session of its own, so that Ctrl+C reaches the parent alone, who ends it in order.
    SIGTERM and SIGHUP end the block as Ctrl+C does. namespace: the network namespace to run it in.
    """
    entering = () if namespace is None else ("ip", "netns", "exec", namespace)  # becomes the command: the same process
    with unwound_by_signals() as interrupts:
        interrupts.held = True  # until the child is in our hands
        process = subprocess.Popen(
            [*entering, sys.executable, "-m", *command],
            cwd=PROJECT,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        try:
            interrupts.release()
            yield process
        finally:
            interrupts.held = True  # an impatient second Ctrl+C must not leave the child behind
            _stop(process)


def address_of(process: Process, name: str, log: Path, patience_s: float) -> str:
    """Wait for the line that says that a process is ready, and return where it listens: HOST:PORT.

    Its stdout is a pipe, its stderr goes to the log. Raises LinkError if the line does not come in time.
    """
    assert process.stdout is not None
    until = time.monotonic() + patience_s
    while select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
        line = process.stdout.readline()
        if match := READY.match(line):
            return match[1]
        if not line:
            raise LinkError(f"the {name} did not start: {last_line(log)}")
    raise LinkError(f"the {name} was not ready within {patience_s:g} s: see {log}")


def last_line(log: Path) -> str:
    """Return what a process has said last, for an error."""
    lines = log.read_text(encoding="utf-8").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _stop(process: Process) -> None:
    """End a child for certain: politely, then not."""
    process.terminate()
    try:
        process.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):  # what was not yet written to a child that is gone
                pipe.close()


class Interrupts:
    """Raises KeyboardInterrupt for a signal: at once, or while held, on release."""

    def __init__(self) -> None:
        self.held = False
        self._pending = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if not self.held:
            raise KeyboardInterrupt
        self._pending = True

    def release(self) -> None:
        """Raise what was held back, and let go."""
        self.held = False
        if self._pending:
            raise KeyboardInterrupt


@contextmanager
def unwound_by_signals() -> Iterator[Interrupts]:
    """Let Ctrl+C, SIGTERM and SIGHUP unwind the stack alike, except those that were ignored before."""
    interrupts = Interrupts()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no signal arrives anywhere else
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, interrupts.receive)
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
