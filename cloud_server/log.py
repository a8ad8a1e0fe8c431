"""The log: one JSON object a line on stderr, so that people and collectors read the same.

Whoever logs never waits. Lines go through a bounded queue to a thread that writes them; where nobody reads, they are
dropped and counted. No peer decides how much is logged: each event has a budget. What libraries in C write to stderr
(libjpeg does, for damaged images) becomes events as well, and never stands between the lines.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import queue
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from splitnet.json_log import JsonFormatter

EVENTS_PER_S = 20.0  # of one kind, after a burst of
BURST = 100
MAX_KINDS = 256  # of events whose budgets are kept
MAX_LINES = 2000  # that wait to be written
FLUSH_S = 1.0  # for the last lines, at the end
PIPE_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class EventBudget(logging.Filter):
    """Lets a burst of each kind of event through, then so many a second; the next one says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._spent: defaultdict[object, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])  # level, when, left out
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is within its budget. Time is the record's own."""
        with self._lock:
            if len(self._spent) > MAX_KINDS:
                self._spent.clear()
            budget = self._spent[record.msg]
            level = max(0.0, budget[0] - (record.created - budget[1]) * EVENTS_PER_S)
            budget[1] = record.created
            is_within = level <= BURST - 1
            budget[0] = level + is_within
            left_out, budget[2] = budget[2], 0.0 if is_within else budget[2] + 1
        if is_within and left_out:
            vars(record)["left_out"] = int(left_out)
        return is_within


class LineWriter:
    """Writes lines to a file descriptor on a thread of its own."""

    def __init__(self, descriptor: int, max_lines: int = MAX_LINES) -> None:
        """Take an open descriptor, and the most lines that may wait for it."""
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(max_lines)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Hand over a line, or drop and count it where too many wait; returns at once."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def stop(self, timeout_s: float = FLUSH_S) -> None:
        """Wait for what is waiting, but not longer than that: perhaps nobody reads."""
        deadline = time.monotonic() + timeout_s
        with suppress(queue.Full):
            self._lines.put(None, timeout=timeout_s)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            dropped = 0 if self._write(line) else 1
            if (self._dropped or dropped) and self._lines.empty():
                self._say_dropped(dropped)
            else:
                self._dropped += dropped
        if self._dropped:
            self._say_dropped(0)

    def _say_dropped(self, more: int) -> None:
        dropped, self._dropped = self._dropped + more, 0
        if not self._write(json.dumps({"level": "warning", "event": "log lines dropped", "count": dropped})):
            self._dropped += dropped

    def _write(self, line: str) -> bool:
        """Return whether a line could be written: the disk may be full, or nobody reads any more."""
        left = f"{line}\n".encode()
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            return False
        return True


class QueueingHandler(logging.Handler):
    """Hands formatted records to a LineWriter."""

    def __init__(self, writer: LineWriter) -> None:
        """Take what writes."""
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        try:
            self._writer.put(self.format(record))
        except Exception:
            self.handleError(record)


@contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Send the log to stderr from the given severity on, and in it whatever else is written there, while in this block.

    Tracebacks of a crash still go to stderr as they are.
    """
    stderr, python_stderr = os.dup(2), sys.stderr
    writer = LineWriter(stderr)
    handler = QueueingHandler(writer)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(EventBudget())
    root = logging.getLogger()
    before, before_level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    try:
        with open(stderr, "w", buffering=1, errors="backslashreplace", closefd=False) as sys.stderr, _captured_stderr():
            faulthandler.enable(stderr)
            yield
    finally:
        faulthandler.disable()
        sys.stderr = python_stderr
        root.handlers[:], root.level = before, before_level
        writer.stop()  # its descriptor stays open: the thread may still be writing


@contextmanager
def _captured_stderr() -> Iterator[None]:
    """Log what is written to descriptor 2. Whoever writes there never waits: what the pipe cannot hold is lost."""
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.dup2(writing, 2)
    os.close(writing)
    reader = threading.Thread(target=_log_lines, args=(reading,), name="stderr", daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(kept, 2)  # the last writing end of the pipe: the reader comes to its end
        os.close(kept)
        reader.join(FLUSH_S)


def _log_lines(descriptor: int) -> None:
    rest = b""
    with open(descriptor, "rb", buffering=0) as pipe:
        while data := pipe.read(PIPE_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-PIPE_BYTES:]
            for line in filter(None, lines):
                logger.warning("a library says", extra={"text": line.decode(errors="backslashreplace")})
